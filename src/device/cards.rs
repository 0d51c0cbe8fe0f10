//! Graphics cards as `nvidia-smi` knows them: what burn does not tell.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::memory::Memory;

/// How long `nvidia-smi` may take. It hangs where a driver does.
const PATIENCE: Duration = Duration::from_secs(10);

/// A card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    uuid: String,
    /// Where it is plugged in, as `nvidia-smi` writes it: `00000000:65:00.0`.
    bus: String,
    pub name: String,
    pub driver: String,
    pub memory: Memory,
}

/// The cards of this machine. None without `nvidia-smi`.
pub(super) fn all() -> Vec<Card> {
    let query = "--query-gpu=uuid,pci.bus_id,name,driver_version,memory.total,memory.free";
    let child = Command::new("nvidia-smi")
        .args([query, "--format=csv,noheader,nounits"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        return Vec::new();
    };
    let began = Instant::now();
    // A few lines fit into the pipe, so nobody has to read meanwhile.
    while let Ok(None) = child.try_wait() {
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Vec::new();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output();
    output.map_or(Vec::new(), |output| {
        parse(&String::from_utf8_lossy(&output.stdout))
    })
}

/// The cards of the lines of `nvidia-smi`, memory in MiB. A line that is not as it should be is passed over.
fn parse(text: &str) -> Vec<Card> {
    let card = |line: &str| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [uuid, bus, name, driver, total, free] = fields[..] else {
            return None;
        };
        let mib = |text: &str| Some(text.parse::<u64>().ok()? << 20);
        Some(Card {
            uuid: uuid.to_owned(),
            bus: bus.to_lowercase(),
            name: name.to_owned(),
            driver: driver.to_owned(),
            memory: Memory {
                total: mib(total)?,
                free: mib(free)?,
            },
        })
    };
    text.lines().filter_map(card).collect()
}

/// The card that CUDA counts as `number`. CUDA counts those that `CUDA_VISIBLE_DEVICES` names, and counts the fastest first unless
/// `CUDA_DEVICE_ORDER` is `PCI_BUS_ID`, which is the order of `nvidia-smi`. None where that leaves open which one it is.
pub(super) fn by_number(cards: &[Card], number: usize) -> Option<Card> {
    let variable = |name: &str| std::env::var(name).ok();
    let visible = variable("CUDA_VISIBLE_DEVICES");
    let order = variable("CUDA_DEVICE_ORDER");
    numbered(cards, number, visible.as_deref(), order.as_deref()).cloned()
}

fn numbered<'a>(
    cards: &'a [Card],
    number: usize,
    visible: Option<&str>,
    order: Option<&str>,
) -> Option<&'a Card> {
    let alike = cards.iter().all(|card| card.name == cards[0].name);
    let in_order = alike || order == Some("PCI_BUS_ID");
    let by_index = |index: usize| cards.get(index).filter(|_| in_order);
    let Some(visible) = visible else {
        return by_index(number);
    };
    let named = visible.split(',').nth(number)?.trim();
    match named.parse() {
        Ok(index) => by_index(index),
        Err(_) => {
            let mut found = cards.iter().filter(|card| card.uuid.starts_with(named));
            found
                .next()
                .filter(|_| !named.is_empty() && found.next().is_none())
        }
    }
}

/// The card that is plugged in at an address such as `0000:65:00.0`.
pub(super) fn by_address(cards: &[Card], address: &str) -> Option<Card> {
    // nvidia-smi writes the domain with eight digits, others with four.
    let short = |bus: &str| bus.trim_start_matches('0').to_lowercase();
    let found = cards.iter().find(|card| short(&card.bus) == short(address));
    found.cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "GPU-aa11, 00000000:65:00.0, NVIDIA A100-SXM4-40GB, 550.54.15, 40960, 40339
GPU-bb22, 00000000:B1:00.0, NVIDIA T4, 550.54.15, 15360, 15101
Failed to initialise: something
";

    #[test]
    fn cards_are_read_line_by_line() {
        let cards = parse(TWO);
        assert_eq!(cards.len(), 2);
        assert_eq!(cards[0].name, "NVIDIA A100-SXM4-40GB");
        assert_eq!(cards[1].driver, "550.54.15");
        let memory = Memory {
            total: 15360 << 20,
            free: 15101 << 20,
        };
        assert_eq!(cards[1].memory, memory);
        assert_eq!(parse("no devices were found\n"), []);
    }

    #[test]
    fn a_number_of_cuda_is_a_card_only_where_that_is_sure() {
        let cards = parse(TWO);
        let name = |number, visible, order| {
            numbered(&cards, number, visible, order).map(|card| card.uuid.as_str())
        };
        // The T4 may be counted first or second.
        assert_eq!(name(0, None, None), None);
        assert_eq!(name(1, None, Some("PCI_BUS_ID")), Some("GPU-bb22"));
        assert_eq!(name(2, None, Some("PCI_BUS_ID")), None);
        assert_eq!(name(0, Some("1,0"), Some("PCI_BUS_ID")), Some("GPU-bb22"));
        assert_eq!(name(0, Some("GPU-bb"), None), Some("GPU-bb22"));
        assert_eq!(name(0, Some("GPU-"), None), None);
        assert_eq!(name(0, Some(""), None), None);
        assert_eq!(name(1, Some("GPU-bb"), None), None);
        // One card, or several alike: any order is the same.
        let one = &cards[..1];
        assert_eq!(numbered(one, 0, None, None), Some(&cards[0]));
        assert_eq!(numbered(&[], 0, None, None), None);
    }

    #[test]
    fn a_card_is_found_by_its_address() {
        let cards = parse(TWO);
        assert_eq!(by_address(&cards, "0000:b1:00.0"), Some(cards[1].clone()));
        assert_eq!(by_address(&cards, "0000:b2:00.0"), None);
    }
}
