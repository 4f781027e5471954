//! What only the operator's key can do: let machines in, and give lost slots to others.

use std::collections::BTreeSet;
use std::time::Duration;

use kakera_engine::ledger::{
    Body, GroupCreate, Node, NodeDrain, NodeJoin, NodeRetire, NodeUpdate, SlotReassign,
};
use kakera_engine::names::{GroupId, NodeId, Slot};
use kakera_engine::peer::Member;
use kakera_net::client::Client;

use crate::codes::Codes;
use crate::failure::{Failure, Kind};

/// How long the ledger may take to draw the members of a group or a newcomer.
const DRAW_TIME: Duration = Duration::from_secs(20);
/// How long a drain waits for newcomers at a time.
const DRAIN_TIME: Duration = Duration::from_secs(600);
const POLL_PAUSE: Duration = Duration::from_millis(50);

/// A slot and its present holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seat {
    pub(crate) group: GroupId,
    pub(crate) member: Member,
}

/// Lets a machine in, again if it had left; brings its address up to date if it is in.
pub(crate) async fn enrol(client: &Client, join: NodeJoin) -> Result<(), Failure> {
    let known = find(client, &join.node).await?;
    enrol_known(client, known.as_ref(), join).await
}

/// The same, where what the ledger says of it is `known`.
pub(crate) async fn enrol_known(
    client: &Client,
    known: Option<&Node>,
    join: NodeJoin,
) -> Result<(), Failure> {
    let body = match known {
        Some(Node { join: known, retired: false, .. }) if known.address == join.address => {
            return Ok(());
        }
        Some(Node { join: known, retired: false, .. }) => Body::NodeUpdate(NodeUpdate {
            node: join.node,
            address: join.address,
            quota_bytes: join.quota_bytes,
            generation: known.generation,
        }),
        Some(Node { join: known, retired: true, .. }) => {
            Body::NodeJoin(NodeJoin { generation: known.generation + 1, ..join })
        }
        None => Body::NodeJoin(join),
    };
    client.submit(body).await?;
    Ok(())
}

/// What the ledger says of a machine.
pub(crate) async fn find(client: &Client, node: &NodeId) -> Result<Option<Node>, Failure> {
    Ok(client.nodes().await?.into_iter().find(|known| known.join.node == *node))
}

/// Makes the first group as soon as there are as many storage nodes as it has slots; tells whether
/// there is one now.
pub(crate) async fn make_first_group(client: &Client, codes: Codes) -> Result<bool, Failure> {
    let counts = client.counts().await?;
    if counts.groups == 0 {
        if counts.storage_nodes < u32::from(codes.data.n) {
            return Ok(false);
        }
        let create = GroupCreate { code: codes.data, key: codes.key };
        client.submit(Body::GroupCreate(create)).await?;
    }
    wait_for_draw(async || Ok(!client.groups().await?.is_empty())).await?;
    Ok(true)
}

/// Retires lost nodes and gives each of their slots to another; tells the slots' new holders.
///
/// What was done before an error stays done; repeating it does the rest.
pub(crate) async fn replace(
    client: &Client,
    lost: &BTreeSet<NodeId>,
) -> Result<Vec<Seat>, Failure> {
    for node in client.nodes().await? {
        let node = (lost.contains(&node.join.node) && !node.retired).then_some(node.join.node);
        if let Some(node) = node {
            client.submit(Body::NodeRetire(NodeRetire { node })).await?;
        }
    }
    let vacant: BTreeSet<(GroupId, Slot)> = seats(client)
        .await?
        .into_iter()
        .filter(|seat| lost.contains(&seat.member.node))
        .map(|seat| (seat.group, seat.member.slot))
        .collect();
    for (group, slot) in &vacant {
        let reassign = SlotReassign { group: *group, slot: *slot };
        client.submit(Body::SlotReassign(reassign)).await?;
    }
    wait_for_draw(async || {
        let seats = seats(client).await?;
        Ok(!seats.iter().any(|seat| lost.contains(&seat.member.node)))
    })
    .await?;
    let seats = seats(client).await?.into_iter();
    Ok(seats.filter(|seat| vacant.contains(&(seat.group, seat.member.slot))).collect())
}

/// Has all slots of a node rebuilt by others and retires it; tells how many there were.
///
/// What was done before an error stays done; repeating it does the rest.
pub(crate) async fn drain(client: &Client, node: NodeId) -> Result<usize, Failure> {
    let known = find(client, &node).await?.filter(|known| !known.retired);
    let known = known.ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("{node} is not enrolled"), "kakera status")
    })?;
    let before: BTreeSet<(GroupId, Slot)> = slots_of(client, &node).await?;
    if !known.is_draining() || known.slots > 0 {
        client.submit(Body::NodeDrain(NodeDrain { node })).await?;
    }
    let taken_over = async {
        loop {
            client.forget_groups();
            let groups = client.groups().await?;
            let waits = groups.iter().any(|group| {
                group.members.iter().any(|member| {
                    member.node == node
                        || before.contains(&(group.id, member.slot))
                            && group.filling.contains(&member.slot)
                })
            });
            if !waits {
                return Ok::<_, Failure>(());
            }
            tokio::time::sleep(POLL_PAUSE).await;
        }
    };
    tokio::time::timeout(DRAIN_TIME, taken_over).await.unwrap_or_else(|_| {
        Err(Failure::new(
            Kind::TryAgain,
            "not all slots are taken over yet",
            "kakera status, and repeat the command; add a node if there is none to take over",
        ))
    })?;
    client.submit(Body::NodeRetire(NodeRetire { node })).await?;
    Ok(before.len())
}

/// Takes a machine that holds no slot out of the network.
pub(crate) async fn retire(client: &Client, node: NodeId) -> Result<(), Failure> {
    let known = find(client, &node).await?.filter(|known| !known.retired);
    let known = known.ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("{node} is not enrolled"), "kakera status")
    })?;
    if known.slots > 0 {
        let message = format!("{node} still holds {} slots", known.slots);
        let advice = "kakera node drain ID, or kakera repair --lost ID if it is gone for good";
        return Err(Failure::new(Kind::Usage, message, advice));
    }
    client.submit(Body::NodeRetire(NodeRetire { node })).await?;
    Ok(())
}

async fn slots_of(client: &Client, node: &NodeId) -> Result<BTreeSet<(GroupId, Slot)>, Failure> {
    let held = seats(client).await?.into_iter().filter(|seat| seat.member.node == *node);
    Ok(held.map(|seat| (seat.group, seat.member.slot)).collect())
}

/// Every slot of every group, from the ledger.
pub(crate) async fn seats(client: &Client) -> Result<Vec<Seat>, Failure> {
    client.forget_groups();
    let groups = client.groups().await?;
    let seats = groups.iter().flat_map(|group| {
        group.members.iter().map(|member| Seat { group: group.id, member: *member })
    });
    Ok(seats.collect())
}

async fn wait_for_draw(is_done: impl AsyncFn() -> Result<bool, Failure>) -> Result<(), Failure> {
    let wait = async {
        while !is_done().await? {
            tokio::time::sleep(POLL_PAUSE).await;
        }
        Ok(())
    };
    tokio::time::timeout(DRAW_TIME, wait).await.unwrap_or_else(|_| {
        Err(Failure::new(
            Kind::TryAgain,
            "the ledger has not drawn the new holders yet",
            "check that the validator and at least two storage nodes run, then repeat the command",
        ))
    })
}
