//! The token that permits invalidations.

use larder::{Error, Result};
use subtle::ConstantTimeEq as _;

/// The minimum length: a shorter token can be guessed.
const SHORTEST: usize = 16;

pub(super) struct Token(String);

impl Token {
    pub(super) fn new(token: String) -> Result<Self> {
        if token.len() < SHORTEST {
            let message = format!(
                "a token of {} bytes can be guessed: give at least {SHORTEST}, at random",
                token.len()
            );
            return Err(Error::config(message));
        }
        Ok(Self(token))
    }

    /// Compares tokens, in constant time for the right length. The length is no secret.
    pub(super) fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_will_do() {
        let token = Token::new("0123456789abcdef".to_owned()).unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for wrong in
            [&b""[..], b"0123456789abcde", b"0123456789abcdeg", b"0123456789abcdef ", b"0123456789ABCDEF"]
        {
            assert!(!token.is(wrong));
        }
    }
}
