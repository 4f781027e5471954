//! What a passphrase goes through before it is used: NFKC (UAX #15) and Argon2id (RFC 9106).

use argon2::{Algorithm, Argon2, Params, Version};
use minicbor::{Decode, Encode};
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The longest passphrase, in bytes of UTF-8 before normalisation.
pub const PASSPHRASE_LEN_MAX: usize = 1024;
/// A character grows at most elevenfold under NFKC (UAX #15 §10).
const NFKC_GROWTH: usize = 11;

/// The cost of trying one passphrase. Formats name a profile and no figures, so that a hostile
/// one cannot demand memory without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Hardening {
    /// 256 MiB, 3 passes.
    #[n(1)]
    Standard,
    /// 64 MiB, 4 passes, for machines with little memory (RFC 9106 §4, second choice, one more
    /// pass for one lane).
    #[n(2)]
    SmallMachine,
}

impl Hardening {
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Standard => 1,
            Self::SmallMachine => 2,
        }
    }

    pub(super) const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Standard),
            2 => Some(Self::SmallMachine),
            _ => None,
        }
    }

    /// Kibibytes of memory and passes over it, on one lane.
    const fn cost(self) -> (u32, u32) {
        match self {
            Self::Standard => (256 * 1024, 3),
            Self::SmallMachine => (64 * 1024, 4),
        }
    }

    /// The passphrase, normalised and hardened, as a key. `salt` has 8 bytes or more.
    pub fn harden(
        self,
        passphrase: &str,
        salt: &[u8],
    ) -> Result<Zeroizing<[u8; 32]>, HardeningError> {
        let (memory_kibibytes, passes) = self.cost();
        let mut key = Zeroizing::new([0; 32]);
        argon2id(memory_kibibytes, passes)
            .hash_password_into(normalise(passphrase)?.as_bytes(), salt, key.as_mut())
            .map_err(|_| HardeningError::Memory(memory_kibibytes / 1024))?;
        Ok(key)
    }
}

/// Why a passphrase was not hardened.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HardeningError {
    /// Empty, or longer than [`PASSPHRASE_LEN_MAX`].
    #[error("a passphrase has 1 to {PASSPHRASE_LEN_MAX} bytes")]
    PassphraseLength,
    /// The machine cannot give the memory that the profile demands.
    #[error("passphrase hardening needs {0} MiB of memory")]
    Memory(u32),
}

pub(crate) fn argon2id(memory_kibibytes: u32, passes: u32) -> Argon2<'static> {
    let params = Params::new(memory_kibibytes, passes, 1, Some(32))
        .unwrap_or_else(|_| unreachable!("every profile is within the limits of RFC 9106"));
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// NFKC. The capacity is reserved at once, since growing would leave copies behind.
pub(crate) fn normalise(passphrase: &str) -> Result<Zeroizing<String>, HardeningError> {
    if passphrase.is_empty() || passphrase.len() > PASSPHRASE_LEN_MAX {
        return Err(HardeningError::PassphraseLength);
    }
    let mut normalised = Zeroizing::new(String::with_capacity(NFKC_GROWTH * passphrase.len()));
    normalised.extend(passphrase.nfkc());
    Ok(normalised)
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{AssociatedData, ParamsBuilder};

    #[test]
    fn normalising_leaves_no_copy_behind() {
        let worst = "\u{fdfa}".repeat(PASSPHRASE_LEN_MAX / 3);
        let normalised = normalise(&worst).unwrap();
        assert!(normalised.len() > 10 * worst.len() && normalised.capacity() == 11 * worst.len());
    }

    /// RFC 9106 §5.3.
    #[test]
    fn argon2id_matches_the_rfc() {
        let params = ParamsBuilder::new()
            .m_cost(32)
            .t_cost(3)
            .p_cost(4)
            .data(AssociatedData::new(&[4; 12]).unwrap())
            .build()
            .unwrap();
        let secret = [3; 8];
        let argon2 =
            Argon2::new_with_secret(&secret, Algorithm::Argon2id, Version::V0x13, params).unwrap();
        let mut tag = [0; 32];
        argon2.hash_password_into(&[1; 32], &[2; 16], &mut tag).unwrap();
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
    }
}
