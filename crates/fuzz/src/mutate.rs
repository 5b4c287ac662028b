//! Changes to bytes and text that are likely to matter: numbers at their limits, pieces lost, doubled, moved, or taken from
//! another file of the corpus.

use crate::random::Random;

/// Numbers at which something begins or ends.
const EDGES: [u64; 20] = [
    0,
    1,
    2,
    7,
    8,
    15,
    16,
    71,
    72,
    127,
    128,
    255,
    256,
    4_095,
    4_096,
    4_097,
    65_535,
    0x7FFF_FFFF,
    u32::MAX as u64,
    u64::MAX,
];
/// And in text.
const TEXT_EDGES: [&str; 14] = [
    "0",
    "-1",
    "1",
    "65536",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "1e308",
    "nan",
    "inf",
    "\"\"",
    "[]",
    "true",
    "1979-05-27",
];

/// Changes bytes in one to four places.
pub fn bytes(b: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(b.len());
        // Most layouts are in steps of four or eight.
        let field = at & !3;
        match random.below(12) {
            _ if b.is_empty() => b.extend_from_slice(&random.draw().to_le_bytes()),
            0 => b[at] ^= 1 << random.below(8),
            1 => b[at] = random.draw() as u8,
            2 => b[at] = EDGES[random.below(12)] as u8,
            3..=5 => {
                let width = [2, 4, 8][random.below(3)];
                let mut n = EDGES[random.below(EDGES.len())];
                if random.one_in(2) {
                    n = n.wrapping_sub(random.below(9) as u64);
                }
                let end = (field + width).min(b.len());
                b[field..end].copy_from_slice(&n.to_le_bytes()[..end - field]);
            }
            6 => b.truncate(if random.one_in(2) { at & !7 } else { at }),
            7 => b.extend(std::iter::repeat_n(0, 1 + random.below(64))),
            8 => {
                let end = (at + 1 + random.below(64)).min(b.len());
                b.drain(at..end);
            }
            9 => {
                let piece = b[at..(at + 1 + random.below(256)).min(b.len())].to_vec();
                let to = random.below(b.len());
                b.splice(to..to, piece);
            }
            10 => {
                let end = (at + random.below(64)).min(b.len());
                b[at..end].fill(if random.one_in(2) { 0 } else { 0xFF });
            }
            _ => {
                if let Some(other) = others.get(random.below(others.len())).filter(|o| !o.is_empty()) {
                    let from = random.below(other.len()) & !7;
                    let piece = &other[from..(from + 8 + random.below(512)).min(other.len())];
                    let end = (at + piece.len()).min(b.len());
                    b.splice(at..end, piece.iter().copied());
                }
            }
        }
    }
}

/// Changes lines and values of a text.
pub fn text(b: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let mut lines: Vec<String> = String::from_utf8_lossy(b).lines().map(str::to_owned).collect();
    for _ in 0..1 + random.below(3) {
        let at = random.below(lines.len());
        match random.below(7) {
            _ if lines.is_empty() => lines.push("id = 1".to_owned()),
            0 => drop(lines.remove(at)),
            1 => lines.insert(at, lines[at].clone()),
            2..=4 => {
                if let Some((name, _)) = lines[at].split_once('=') {
                    lines[at] = format!("{name}= {}", TEXT_EDGES[random.below(TEXT_EDGES.len())]);
                }
            }
            5 => {
                let other = others.get(random.below(others.len())).map(|o| String::from_utf8_lossy(o).into_owned());
                let all: Vec<&str> = other.as_deref().unwrap_or_default().lines().collect();
                lines.insert(at, (*all.get(random.below(all.len())).unwrap_or(&"")).to_owned());
            }
            _ => {
                let mut raw = std::mem::take(&mut lines[at]).into_bytes();
                bytes(&mut raw, &[], random);
                lines[at] = String::from_utf8_lossy(&raw).into_owned();
            }
        }
    }
    *b = lines.join("\n").into_bytes();
}
