//! `kakera node invite` and `node join`: one line lets a machine in.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use kakera_engine::hash::hash;
use kakera_engine::ledger::{Body, Genesis, Invitation, InvitedJoin};
use kakera_engine::names::NodeId;
use kakera_engine::wire::canonical;
use kakera_net::clock::unix_milliseconds;
use kakera_net::id::Identity;
use kakera_net::network_file::NetworkFile;
use kakera_net::node::IDENTITY_FILE;
use minicbor::{Decode, Encode};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::arguments::{InviteOptions, JoinOptions};
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::quantity::show_time;
use crate::session::{
    NETWORK_FILE, Session, load_identity, load_network, make_identity, replace_file,
};

const PREFIX: &str = "kakera1-";
const CODE_LEN_MAX: usize = 16 * 1024;
const CHECK_LEN: usize = 4;

/// What the one line says: the network, where its validators listen, and the key of the invitation.
#[derive(Encode, Decode)]
struct Code {
    #[n(0)]
    genesis: Genesis,
    #[n(1)]
    addresses: BTreeMap<NodeId, String>,
    #[cbor(n(2), with = "minicbor::bytes")]
    seed: [u8; 32],
}

impl Code {
    fn to_text(&self) -> String {
        let mut bytes = Zeroizing::new(canonical::encode(self));
        let check = hash("invitation code", &[&bytes]);
        bytes.extend_from_slice(&check[..CHECK_LEN]);
        format!("{PREFIX}{}", Base64UrlUnpadded::encode_string(&bytes))
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().strip_prefix(PREFIX)?;
        let bytes = Zeroizing::new(Base64UrlUnpadded::decode_vec(text).ok()?);
        let (code, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_LEN)?)?;
        let whole = hash("invitation code", &[code])[..CHECK_LEN] == *check;
        whole.then(|| canonical::decode(code, CODE_LEN_MAX).ok()).flatten()
    }

    fn network(&self) -> NetworkFile {
        let parsed = |(id, text): (&NodeId, &String)| Some((*id, text.parse::<SocketAddr>().ok()?));
        let addresses = self.addresses.iter().filter_map(parsed).collect();
        NetworkFile { genesis: self.genesis.clone(), addresses }
    }
}

/// Puts an invitation on the ledger and prints its code.
pub(crate) async fn invite(session: &Session, options: &InviteOptions) -> Result<(), Failure> {
    let operator = session.operator(options.operator.operator_key.as_deref())?;
    let network = session.network()?;
    let connection = session.connect_as(operator)?;
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut())
        .map_err(|error| Failure::new(Kind::Failure, error.to_string(), "repeat the command"))?;
    let expires = unix_milliseconds() + options.expires.as_millis() as u64;
    let invitation = Invitation {
        key: Identity::from_seed(&seed).node_id(),
        zone: options.zone.clone(),
        quota_bytes: options.quota,
        expires,
    };
    connection.client.submit(Body::Invitation(invitation)).await?;
    connection.close().await?;
    let addresses = network.addresses.iter().map(|(id, at)| (*id, at.to_string())).collect();
    let code = Code { genesis: network.genesis, addresses, seed: *seed }.to_text();
    session.output.report(&InviteReport { code, expires: expires / 1000 })
}

/// Makes this machine's key and data folder, and enrols it with a code.
pub(crate) async fn join(session: &Session, options: &JoinOptions) -> Result<(), Failure> {
    let code = Code::parse(&options.code).ok_or_else(|| {
        let advice = "copy the whole line that kakera node invite printed";
        Failure::new(Kind::Usage, "this is not the code of an invitation", advice)
    })?;
    let network = code.network();
    session.make_data_folder()?;
    let path = session.data().join(NETWORK_FILE);
    if path.exists() && load_network(&path)?.network_id() != network.network_id() {
        let message = format!("{} is of another network", path.display());
        return Err(Failure::new(Kind::Usage, message, "another folder with --data DIR"));
    }
    replace_file(&path, network.to_text().as_bytes())?;
    let key = session.data().join(IDENTITY_FILE);
    if !key.exists() {
        make_identity(&key)?;
    }
    let machine = load_identity(&key, "restore it from a copy")?;
    let invited = Arc::new(Identity::from_seed(&Zeroizing::new(code.seed)));
    let (invitation, network_id) = (invited.node_id(), network.network_id());
    let address = options.address.to_string();
    let join = InvitedJoin::sign(&network_id, &invitation, address, machine.signing_key());
    let mdns = options.mdns || session.configuration.mdns;
    let connection = session.connect_through(invited, mdns)?;
    connection.client.submit(Body::InvitedJoin(join)).await?;
    connection.close().await?;
    session.output.report(&JoinReport {
        node: machine.node_id().to_string(),
        network: network.genesis.name.clone(),
    })
}

#[derive(Serialize)]
struct InviteReport {
    code: String,
    /// Unix seconds.
    expires: u64,
}

impl Report for InviteReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let until = show_time(self.expires);
        writeln!(out, "Whoever has this line can let one machine in, until {until} UTC:")?;
        writeln!(out, "{}", self.code)?;
        writeln!(out, "On that machine: kakera node join CODE --address ADDRESS:7400")
    }
}

#[derive(Serialize)]
struct JoinReport {
    node: String,
    network: String,
}

impl Report for JoinReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "This machine, {}, is in the network '{}'.", self.node, self.network)?;
        writeln!(out, "Start it: kakera node run")
    }
}

#[cfg(test)]
mod tests {
    use kakera_engine::ledger::ValidatorSet;

    use super::*;

    #[test]
    fn a_code_is_read_back_and_a_typing_error_noticed() {
        let text = format!(
            "name = \"north\"\ncreated = 5\ncode = \"mbr(10,5,7)\"\nkey = \"(5,6)\"\n\
             pointers_per_author_max = 100\noperators = [\"{}\"]\n\
             [[validator]]\nid = \"{}\"\npower = 1\naddress = \"127.0.0.1:4433\"\n",
            "22".repeat(32),
            "11".repeat(32)
        );
        let network = NetworkFile::parse(&text).unwrap();
        assert_ne!(network.genesis.validators, ValidatorSet::from_iter([]));
        let addresses = network.addresses.iter().map(|(id, at)| (*id, at.to_string())).collect();
        let code = Code { genesis: network.genesis.clone(), addresses, seed: [7; 32] }.to_text();
        let read = Code::parse(&format!(" {code}\n")).unwrap();
        assert_eq!((read.network(), read.seed), (network, [7; 32]));
        for place in [0, 9, code.len() / 2, code.len() - 1] {
            let mut typed = code.clone().into_bytes();
            typed[place] = if typed[place] == b'A' { b'B' } else { b'A' };
            assert!(Code::parse(&String::from_utf8(typed).unwrap()).is_none(), "place {place}");
        }
        assert!(Code::parse("").is_none() && Code::parse(PREFIX).is_none());
    }
}
