//! A vault root at rest in a file, under a passphrase: Argon2id (RFC 9106) and an AEAD.

use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use super::{Hardening, HardeningError, StreamKey, Suite, TAG_LEN, VaultRoot};
use crate::hash::hash;

/// The length of every vault file, in bytes.
pub const VAULT_FILE_LEN: usize = CHECKSUM_START + CHECKSUM_LEN;

const MAGIC: &[u8; 12] = b"kakera vault";
const VERSION: u8 = 1;
const SALT_START: usize = MAGIC.len() + 2;
const SALT_LEN: usize = 32;
const SEALED_START: usize = SALT_START + SALT_LEN;
const SEALED_LEN: usize = 32 + TAG_LEN;
const CHECKSUM_START: usize = SEALED_START + SEALED_LEN;
const CHECKSUM_LEN: usize = 16;

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
    /// The passphrase cannot be used, or not here.
    #[error(transparent)]
    Passphrase(#[from] HardeningError),
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
) -> Result<StreamKey, HardeningError> {
    let key = hardening.harden(passphrase, salt)?;
    Ok(StreamKey::new(Suite::ChaCha20Poly1305, &key))
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_LEN] {
    let digest = hash("vault/file", &[content]);
    let mut checksum = [0; CHECKSUM_LEN];
    checksum.copy_from_slice(&digest[..CHECKSUM_LEN]);
    checksum
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::seal::PASSPHRASE_LEN_MAX;
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
    }

    #[test]
    fn passphrases_have_a_length() {
        let file = sealed("p", Hardening::SmallMachine);
        for passphrase in ["", &"p".repeat(PASSPHRASE_LEN_MAX + 1)] {
            let refused = VaultFileError::Passphrase(HardeningError::PassphraseLength);
            assert_eq!(error(&file, passphrase), refused);
        }
    }
}
