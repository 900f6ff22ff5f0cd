#![no_main]

plimsoll_fuzz::target!(int_or_string);
