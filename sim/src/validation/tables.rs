//! The rows, with their sources.

use super::{Row, chains, closed_forms, rare, simulated};

pub(super) static ROWS: [Row; 20] = [
    Row {
        id: "P1",
        folder: "storj-durability",
        source: "Storj v3 white paper (2018), section 3.4",
        checks: &[closed_forms::storj_durability],
    },
    Row {
        id: "P2",
        folder: "storj-repair",
        source: "Storj v3 white paper (2018), table of repair bandwidth ratios",
        checks: &[closed_forms::storj_repair],
    },
    Row {
        id: "P3",
        folder: "backblaze-durability",
        source: "Backblaze, \"Cloud storage durability\" (2018)",
        checks: &[closed_forms::backblaze_durability],
    },
    Row {
        id: "P4",
        folder: "mttdl",
        source: "birth-and-death chains of a group, as in Trivedi, \"Probability and Statistics\"",
        checks: &[chains::mean_times, rare::mean_times],
    },
    Row {
        id: "P5",
        folder: "codex-durability",
        source: "Codex white paper, table 1",
        checks: &[chains::codex_durability, rare::codex_durability],
    },
    Row {
        id: "P6",
        folder: "erasure-replication",
        source: "Weatherspoon, Kubiatowicz, \"Erasure coding vs. replication\" (IPTPS 2002)",
        checks: &[closed_forms::erasure_replication],
    },
    Row {
        id: "P7",
        folder: "copysets",
        source: "Cidon et al., \"Copysets\" (USENIX ATC 2013)",
        checks: &[closed_forms::copysets],
    },
    Row {
        id: "P8",
        folder: "glacier",
        source: "Haeberlen, Mislove, Druschel, \"Glacier\" (NSDI 2005)",
        checks: &[closed_forms::glacier],
    },
    Row {
        id: "P9",
        folder: "google-availability",
        source: "Ford et al., \"Availability in globally distributed storage systems\" (OSDI 2010)",
        checks: &[chains::recovery_rates, rare::recovery_rates],
    },
    Row {
        id: "P10",
        folder: "simedc",
        source: "SimEDC (Zhang, Han, Lee, SRDS 2017), a small configuration, its stale events left out",
        checks: &[simulated::simedc],
    },
    Row {
        id: "P11",
        folder: "regenerating-codes",
        source: "Dimakis et al., \"Network coding for distributed storage systems\" (2010), eq. 5, 6",
        checks: &[closed_forms::regenerating_codes],
    },
    Row {
        id: "P12",
        folder: "raid-double-failures",
        source: "Elerath, Pecht, \"Enhanced reliability modeling of RAID storage systems\" (DSN 2007)",
        checks: &[simulated::raid_double_failures],
    },
    Row {
        id: "P13",
        folder: "static-leak",
        source: "an attacker who owns 100 of 1000 machines; our parameters",
        checks: &[closed_forms::static_leak, simulated::static_leak],
    },
    Row {
        id: "P14",
        folder: "eager-repair",
        source: "repair traffic of one object under the codes of Dimakis et al.; our parameters",
        checks: &[simulated::eager_repair],
    },
    Row {
        id: "P15",
        folder: "tahoe-reliability",
        source: "Tahoe-LAFS, test of its provisioning tool's reliability model",
        checks: &[chains::tahoe_reliability],
    },
    Row {
        id: "P16",
        folder: "storj-priority",
        source: "Storj satellite, order of its repair queue",
        checks: &[closed_forms::storj_priority],
    },
    Row {
        id: "S1",
        folder: "mass-loss-copies",
        source: "Sakai et al. (AINA 2017), mass loss with secret sharing and copies; our parameters",
        checks: &[closed_forms::mass_loss_copies],
    },
    Row {
        id: "S2",
        folder: "mass-loss",
        source: "Sakai et al. (CANDAR 2017), loss of many nodes at once; our parameters",
        checks: &[closed_forms::mass_loss],
    },
    Row {
        id: "S3",
        folder: "leak-accumulation",
        source: "slots that an attacker collects while repair moves them; our parameters",
        checks: &[chains::leak_accumulation, simulated::leak_accumulation],
    },
    Row {
        id: "S4",
        folder: "full-copy-sync",
        source: "Medical alpha v4 (Nihon University): a sync copies the whole chain",
        checks: &[closed_forms::full_copy_sync],
    },
];
