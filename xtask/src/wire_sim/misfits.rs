//! A writer that stores objects whose parts do not fit together.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result};
use kakera_engine::code::Code;
use kakera_engine::names::{GroupId, Slot};
use kakera_engine::object::{ObjectBuilder, Placement, SealedObject};
use kakera_engine::seal::{Suite, VaultRoot};
use kakera_engine::wire::Authorisation;
use kakera_net::client::{Client, GroupPlace};
use kakera_net::id::Identity;
use kakera_net::testkit::network::Network;
use kakera_sim::protocol::Misfit;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use zeroize::Zeroizing;

/// Objects against one slot of a group: so many that whoever comes to hold it lacks most of what the
/// group has.
const AT_ONE_SLOT: usize = 12;
/// Groups of which one slot has so many; each of the others has one.
const AIMED_GROUPS: usize = 4;
const RECORD_LEN: usize = 2000;

/// Stores ill-formed objects in each of these groups; how many were acknowledged.
pub(super) async fn put(
    seed: u64,
    network: &mut Network,
    groups: &BTreeSet<GroupId>,
) -> Result<usize> {
    let identity = network.submitter().await;
    let client = network.client_of(&identity);
    let writer = Writer { identity, client, root: VaultRoot::from_bytes(Zeroizing::new([9; 32])) };
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x111F);
    let mut acknowledged = 0;
    for (number, &group) in groups.iter().enumerate() {
        let place = writer.client.group(group).await?;
        let count = if number < AIMED_GROUPS { AT_ONE_SLOT } else { 1 };
        let victim = random.next_u32() % u32::from(place.code.n);
        let victim = Slot::all(place.code.n).nth(victim as usize).context("a slot of the group")?;
        for object in 0..count {
            let misfit = [Misfit::Fragment, Misfit::Share][(number + object) % 2];
            acknowledged += usize::from(writer.put(&place, misfit, victim, &mut random).await?);
        }
    }
    writer.client.transfers().settle(std::time::Duration::from_secs(60)).await;
    writer.client.close().await;
    Ok(acknowledged)
}

struct Writer {
    identity: Arc<Identity>,
    client: Client,
    root: VaultRoot,
}

impl Writer {
    /// Puts an object of which the part of a slot fits none of the others; whether it was acknowledged.
    async fn put(
        &self,
        place: &GroupPlace,
        misfit: Misfit,
        victim: Slot,
        random: &mut ChaCha8Rng,
    ) -> Result<bool> {
        let code = place.code.build()?;
        let mut sealed = self.seal(place, &code, random)?;
        misfit.put_into(&mut sealed, &self.seal(place, &code, random)?, victim);
        let (network, key) = (self.client.network(), self.identity.signing_key());
        let authorisation = Authorisation::sign(network, &sealed.object_id, key);
        let put = self.client.transfers().put(sealed, authorisation, &place.members).await;
        Ok(put.is_ok())
    }

    fn seal(
        &self,
        place: &GroupPlace,
        code: &Code,
        random: &mut ChaCha8Rng,
    ) -> Result<SealedObject> {
        let mut bytes = vec![0; RECORD_LEN];
        random.fill_bytes(&mut bytes);
        let mut builder = ObjectBuilder::new(Suite::Aes256Gcm, random);
        builder.push(&self.root.catalogue(), 1, &bytes)?;
        let epoch = place.epochs.epoch;
        let placement = Placement { group: place.id, epoch, code, key: place.key };
        Ok(builder.finish(&placement, &self.root, random)?)
    }
}
