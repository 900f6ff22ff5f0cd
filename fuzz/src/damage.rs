//! Damage: something near to a right input as often as something far from it.

use serde_json::{Value, json};

/// Texts that are special somewhere.
const SPECIAL: [&str; 24] = [
    "",
    "0",
    "-1",
    "100%",
    "101%",
    "-0%",
    "1e9",
    "1e-400",
    "9223372036854775808",
    "1Ki",
    "0.5m",
    "*/0 * * * *",
    "0 0 29 2 */7",
    "CRON_TZ=Nowhere/Never 0 0 31 2 *",
    "@every 1ns",
    "2026-02-30",
    "9999-12-31",
    "{owner: [",
    "owner: &a [*a]",
    "RollingUpdate",
    "OnDelete",
    "In",
    "DoesNotExist",
    "plimsoll.dev/singleton",
];

/// What a mutation of bytes is: the buffer, how much of it is used, and how much of it there will be.
pub type Bytes<'a> = &'a mut dyn FnMut(&mut [u8], usize, usize) -> usize;

/// What does the damage: the same for the same seed.
pub struct Damage(u64);

impl Damage {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below a bound; 0 where there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Spoils some fields of a document; of a review those of the object above all. Texts are spoilt by
    /// `spoil`.
    pub fn fields(&mut self, document: &mut Value, spoil: Bytes<'_>) {
        let object = ["/request/object", "/spec"].into_iter().find(|at| document.pointer(at).is_some());
        for _ in 0..=self.below(3) {
            let root = if self.below(8) == 0 { "" } else { object.unwrap_or_default() };
            let mut places = Vec::new();
            pointers(document.pointer(root).unwrap_or(&Value::Null), root, &mut places);
            let Some(place) = places.get(self.below(places.len())) else { continue };
            let other =
                places.get(self.below(places.len())).and_then(|other| document.pointer(other)).cloned();
            let Some(field) = document.pointer_mut(place) else { continue };
            *field = match other {
                Some(other) if self.below(8) == 0 => other,
                _ => self.spoilt(field, spoil),
            };
        }
    }

    /// Something else in place of a value.
    fn spoilt(&mut self, value: &Value, spoil: Bytes<'_>) -> Value {
        match (self.below(14), value) {
            (0..=4, Value::String(text)) => self.text(text, spoil).into(),
            (0..=4, Value::Number(number)) => {
                let near = number.as_i64().unwrap_or_default();
                let others = [
                    near.wrapping_add(1),
                    near.wrapping_sub(1),
                    0,
                    -1,
                    i64::from(i32::MAX),
                    i64::MAX,
                    i64::MIN,
                    1 << 53,
                ];
                others[self.below(others.len())].into()
            }
            (0..=2, Value::Array(list)) => list.iter().chain(list).cloned().collect(),
            (3, Value::Array(list)) => list.iter().rev().cloned().collect(),
            (3..=4, Value::Object(map)) => {
                let gone = self.below(map.len());
                let kept = map.iter().enumerate().filter(|(at, _)| *at != gone);
                kept.map(|(_, (key, value))| (key.clone(), value.clone())).collect()
            }
            (0..=2, Value::Object(map)) => {
                let mut map = map.clone();
                let renamed = map.keys().nth(self.below(map.len())).cloned().unwrap_or_default();
                let value = map.get(&renamed).cloned().unwrap_or_default();
                map.insert(self.text(&renamed, spoil), value);
                map.into()
            }
            (5, _) => Value::Null,
            (6, _) => json!("\u{0}\u{1b}[31m\u{202e}\u{85}\u{2028}\r\n"),
            (7, _) => json!(1e300),
            (8, _) => json!([value]),
            (9, _) => json!({ "x": value, "": [] }),
            (10, _) => json!(true),
            (11, _) if self.below(8) == 0 => json!("ü".repeat(2_000)),
            (12, _) => (0..100).fold(value.clone(), |inner, _| json!([inner])),
            _ => json!({}),
        }
    }

    /// A text near to another one, or what is special somewhere.
    fn text(&mut self, text: &str, spoil: Bytes<'_>) -> String {
        if self.below(4) == 0 {
            return SPECIAL[self.below(SPECIAL.len())].to_owned();
        }
        let mut bytes = text.as_bytes().to_vec();
        let size = bytes.len();
        let most = size + 16;
        bytes.resize(most, 0);
        let size = spoil(&mut bytes, size, most);
        bytes.truncate(size);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Changes, drops, repeats or adds some bytes: what `spoil` is where libFuzzer isn't.
    pub fn bytes(&mut self, data: &mut [u8], size: usize, most: usize) -> usize {
        const ADDED: &[u8] = b"*/%-,.:90@# \n\t\0\"[{&\xc3";
        let mut bytes = data[..size].to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, ADDED[self.below(ADDED.len())]),
                2 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                3 if at < bytes.len() => drop(bytes.remove(at)),
                _ => {
                    let to = (at + self.below(64)).min(bytes.len());
                    let again = bytes[at..to].to_vec();
                    bytes.splice(at..at, again);
                }
            }
        }
        bytes.truncate(most);
        data[..bytes.len()].copy_from_slice(&bytes);
        bytes.len()
    }
}

/// Every pointer into a document.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>) {
    all.push(at.to_owned());
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(map) => map.iter().for_each(|(k, v)| pointers(v, &format!("{at}/{}", escape(k)), all)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), all));
        }
        _ => {}
    }
}

/// Mutates an input: where there is JSON in it, mostly its fields, so that it stays JSON and damage goes
/// where rules look; otherwise, and now and then, its bytes.
pub fn mutate(data: &mut [u8], size: usize, most: usize, seed: u32, spoil: Bytes<'_>) -> usize {
    let mut damage = Damage::new(u64::from(seed));
    let most = most.min(data.len());
    // An HTTP request is its head and a body that the head gives the length of.
    let head = head(&data[..size]);
    let document = serde_json::from_slice::<Value>(&data[head..size]).ok();
    let Some(mut document) =
        document.filter(|value| (value.is_object() || value.is_array()) && damage.below(8) > 0)
    else {
        return spoil(data, size, most);
    };
    damage.fields(&mut document, spoil);
    let body = document.to_string().into_bytes();
    let mut new = with_length(&data[..head], body.len());
    new.extend(body);
    if new.len() > most {
        return spoil(data, size, most);
    }
    data[..new.len()].copy_from_slice(&new);
    new.len()
}

/// Where the head of an HTTP request ends; 0 for anything else.
fn head(data: &[u8]) -> usize {
    let end = data.windows(4).position(|window| window == b"\r\n\r\n");
    end.filter(|_| data.starts_with(b"POST ")).map_or(0, |end| end + 4)
}

fn with_length(head: &[u8], length: usize) -> Vec<u8> {
    const NAME: &str = "content-length:";
    let text = String::from_utf8_lossy(head);
    let lines = text.split_inclusive("\r\n").map(|line| match line.to_ascii_lowercase().starts_with(NAME) {
        true => format!("{NAME} {length}\r\n"),
        false => line.to_owned(),
    });
    lines.collect::<String>().into_bytes()
}
