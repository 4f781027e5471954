//! A vault root at rest in a file, under a passphrase: Argon2id (RFC 9106) and an AEAD.

use argon2::{Algorithm, Argon2, Params, Version};
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use thiserror::Error;
use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

use super::{StreamKey, Suite, TAG_LEN, VaultRoot};
use crate::hash::hash;

/// The length of every vault file, in bytes.
pub const VAULT_FILE_LEN: usize = CHECKSUM_START + CHECKSUM_LEN;

/// The longest passphrase, in bytes of UTF-8 before normalisation.
pub const PASSPHRASE_LEN_MAX: usize = 1024;

const MAGIC: &[u8; 12] = b"kakera vault";
const VERSION: u8 = 1;
const SALT_START: usize = MAGIC.len() + 2;
const SALT_LEN: usize = 32;
const SEALED_START: usize = SALT_START + SALT_LEN;
const SEALED_LEN: usize = 32 + TAG_LEN;
const CHECKSUM_START: usize = SEALED_START + SEALED_LEN;
const CHECKSUM_LEN: usize = 16;
/// A character grows at most elevenfold under NFKC (UAX #15 §10).
const NFKC_GROWTH: usize = 11;

/// The cost of trying one passphrase. The file names a profile and no figures, so that a hostile
/// file cannot demand memory without limit.
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
    const fn byte(self) -> u8 {
        match self {
            Self::Standard => 1,
            Self::SmallMachine => 2,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
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
}

/// Why a vault file was not sealed or opened.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum VaultFileError {
    /// Not a vault file, or a cut one.
    #[error("this is not a vault file")]
    NotAVaultFile,
    /// A format of another time.
    #[error("vault file version {0} is unknown")]
    Version(u8),
    /// A hardening profile of another time.
    #[error("passphrase hardening profile {0} is unknown")]
    Hardening(u8),
    /// The file has changed since it was written.
    #[error("the vault file is damaged")]
    Damaged,
    /// The file is whole; the passphrase is not its own.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// Empty, or longer than [`PASSPHRASE_LEN_MAX`].
    #[error("a passphrase has 1 to {PASSPHRASE_LEN_MAX} bytes")]
    PassphraseLength,
    /// The machine cannot give the memory that the profile demands.
    #[error("passphrase hardening needs {0} MiB of memory")]
    Memory(u32),
}

/// Seals `root` under `passphrase` as the bytes of a vault file.
pub fn seal_vault_file(
    root: &VaultRoot,
    passphrase: &str,
    hardening: Hardening,
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, VaultFileError> {
    let mut salt = [0; SALT_LEN];
    rng.fill_bytes(&mut salt);
    let mut file = Vec::with_capacity(VAULT_FILE_LEN);
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[VERSION, hardening.byte()]);
    file.extend_from_slice(&salt);
    wrapping_key(passphrase, &salt, hardening)?.seal(root.expose(), &mut file);
    let checksum = checksum(&file);
    file.extend_from_slice(&checksum);
    Ok(file)
}

/// The vault root in `file`.
pub fn open_vault_file(file: &[u8], passphrase: &str) -> Result<VaultRoot, VaultFileError> {
    if file.len() != VAULT_FILE_LEN || !file.starts_with(MAGIC) {
        return Err(VaultFileError::NotAVaultFile);
    }
    let (version, profile) = (file[MAGIC.len()], file[MAGIC.len() + 1]);
    if version != VERSION {
        return Err(VaultFileError::Version(version));
    }
    let (content, expected) = file.split_at(CHECKSUM_START);
    if !bool::from(checksum(content).ct_eq(expected)) {
        return Err(VaultFileError::Damaged);
    }
    let hardening = Hardening::from_byte(profile).ok_or(VaultFileError::Hardening(profile))?;
    let key = wrapping_key(passphrase, &content[SALT_START..SEALED_START], hardening)?;
    let mut root = Zeroizing::new([0; 32]);
    key.open_chunk(0, true, &content[SEALED_START..], root.as_mut())
        .map_err(|_| VaultFileError::WrongPassphrase)?;
    Ok(VaultRoot::from_bytes(root))
}

/// The salt is fresh for every file, so the key is and a counter nonce will do.
fn wrapping_key(
    passphrase: &str,
    salt: &[u8],
    hardening: Hardening,
) -> Result<StreamKey, VaultFileError> {
    if passphrase.is_empty() || passphrase.len() > PASSPHRASE_LEN_MAX {
        return Err(VaultFileError::PassphraseLength);
    }
    let (memory_kibibytes, passes) = hardening.cost();
    let mut key = Zeroizing::new([0; 32]);
    argon2id(memory_kibibytes, passes)
        .hash_password_into(normalise(passphrase).as_bytes(), salt, key.as_mut())
        .map_err(|_| VaultFileError::Memory(memory_kibibytes / 1024))?;
    Ok(StreamKey::new(Suite::ChaCha20Poly1305, &key))
}

fn argon2id(memory_kibibytes: u32, passes: u32) -> Argon2<'static> {
    let params = Params::new(memory_kibibytes, passes, 1, Some(32))
        .unwrap_or_else(|_| unreachable!("both profiles are within the limits of RFC 9106"));
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// NFKC. The capacity is reserved at once, since growing would leave copies behind.
fn normalise(passphrase: &str) -> Zeroizing<String> {
    let mut normalised = Zeroizing::new(String::with_capacity(NFKC_GROWTH * passphrase.len()));
    normalised.extend(passphrase.nfkc());
    normalised
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = hash("vault/file", &[content]);
    let mut checksum = [0; CHECKSUM_LEN];
    checksum.copy_from_slice(&digest[..CHECKSUM_LEN]);
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::{AssociatedData, ParamsBuilder};
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn root() -> VaultRoot {
        VaultRoot::from_bytes(Zeroizing::new([0x77; 32]))
    }

    fn sealed(passphrase: &str, hardening: Hardening) -> Vec<u8> {
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        seal_vault_file(&root(), passphrase, hardening, &mut rng).unwrap()
    }

    fn error(file: &[u8], passphrase: &str) -> VaultFileError {
        open_vault_file(file, passphrase).unwrap_err()
    }

    #[test]
    fn both_profiles_open_and_a_wrong_passphrase_is_told_from_damage() {
        for hardening in [Hardening::Standard, Hardening::SmallMachine] {
            let file = sealed("correct horse", hardening);
            assert_eq!(file.len(), VAULT_FILE_LEN);
            assert_eq!(open_vault_file(&file, "correct horse").unwrap().expose(), root().expose());
        }
        let file = sealed("correct horse", Hardening::SmallMachine);
        assert_eq!(error(&file, "battery staple"), VaultFileError::WrongPassphrase);
        for place in 0..file.len() {
            let mut changed = file.clone();
            changed[place] ^= 0x10;
            let expected = match place {
                0..12 => VaultFileError::NotAVaultFile,
                12 => VaultFileError::Version(0x11),
                _ => VaultFileError::Damaged,
            };
            assert_eq!(error(&changed, "correct horse"), expected);
        }
        assert_eq!(error(&file[..file.len() - 1], "x"), VaultFileError::NotAVaultFile);
        assert_eq!(error(&[], "x"), VaultFileError::NotAVaultFile);
    }

    #[test]
    fn a_forged_profile_with_a_right_checksum_is_refused_before_any_work() {
        let mut file = sealed("p", Hardening::SmallMachine);
        file[MAGIC.len() + 1] = 200;
        let checksum = checksum(&file[..CHECKSUM_START]);
        file[CHECKSUM_START..].copy_from_slice(&checksum);
        assert_eq!(error(&file, "p"), VaultFileError::Hardening(200));
    }

    #[test]
    fn passphrases_are_compared_after_nfkc() {
        // ÅＡｶﾞ typed decomposed, full-width and half-width
        let file = sealed("\u{c5}\u{ff21}\u{ff76}\u{ff9e}", Hardening::SmallMachine);
        assert!(open_vault_file(&file, "A\u{30a}A\u{30ac}").is_ok());
        assert_eq!(error(&file, "a\u{30a}A\u{30ac}"), VaultFileError::WrongPassphrase);
        let worst = "\u{fdfa}".repeat(PASSPHRASE_LEN_MAX / 3);
        let normalised = normalise(&worst);
        assert!(normalised.len() > 10 * worst.len() && normalised.capacity() == 11 * worst.len());
    }

    #[test]
    fn passphrases_have_a_length() {
        let file = sealed("p", Hardening::SmallMachine);
        for passphrase in ["", &"p".repeat(PASSPHRASE_LEN_MAX + 1)] {
            assert_eq!(error(&file, passphrase), VaultFileError::PassphraseLength);
        }
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
