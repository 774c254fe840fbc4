//! The ticket of an upgrade, and the headers between Worker and room.

/// The header that carries the ticket of an upgrade from the Worker to the room.
pub(crate) const TICKET_HEADER: &str = "room-ticket";

/// The header with the kind of an error. It distinguishes an error from a refusal; the body is the whole error.
pub(crate) const ERROR_HEADER: &str = "room-error";

/// Creates a ticket, a random 128-bit number as text. Only a Worker with the binding can know a ticket, because it is
/// sent by RPC and with a request that only the room receives.
pub(crate) fn new_ticket(random: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(random))
}

pub(crate) fn is_ticket(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_32_hexadecimal_digits() {
        let ticket = new_ticket([0xab; 16]);
        assert_eq!(ticket, "ab".repeat(16));
        assert!(is_ticket(&ticket));
        for no in ["", &"ab".repeat(15), &"ab".repeat(17), &"ag".repeat(16), "room:state"] {
            assert!(!is_ticket(no), "{no}");
        }
    }
}
