//! Whatever a person pastes as an address: never a panic; what is taken is written the same way again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twocan_protocol::address::{Address, AddressUri};
use twocan_protocol::identity::RootKey;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<Address>() {
        let again: Address = address.to_string().parse().expect("what is written can be read");
        assert_eq!(again, address);
        assert!(text.trim().eq_ignore_ascii_case(&address.to_string()), "one address has one text");
    }
    if let Ok(uri) = text.parse::<AddressUri>() {
        let again: AddressUri = uri.to_string().parse().expect("what is written can be read");
        assert_eq!(again.address, uri.address);
        assert_eq!(again.hints, uri.hints);
    }
    let _ = RootKey::from_phrase(text);
});
