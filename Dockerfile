# The image that the chart runs: the program, the C library and nothing else, as a user without rights.
#
#   docker build --tag plimsoll:0.1.0 .
FROM rust:1.95-bookworm AS build
# The image's own. rust-toolchain.toml asks for lints and a formatter beside it, which rustup would fetch first.
ENV RUSTUP_TOOLCHAIN=$RUST_VERSION
# Cargo features beside the usual ones: otlp.
ARG FEATURES=""
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin plimsoll --features "$FEATURES" && cp target/release/plimsoll /plimsoll

# Debian's C library, as in the stage above, without a shell. It runs on a read-only root filesystem.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /plimsoll /usr/local/bin/plimsoll
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["/usr/local/bin/plimsoll"]
