//! Finding frames in a stream, and the checksum.

use crate::{Random, answers, requests};
use tegata_wire::{Scan, *};

#[test]
fn the_checksum_is_crc_32c() {
    let check = |bytes: &[u8], expected: u32| {
        let mut frame = vec![0; 8];
        frame.extend_from_slice(bytes);
        frame[4..8].copy_from_slice(&expected.to_le_bytes());
        assert_eq!(check_crc(&frame), Ok(()), "{expected:08x}");
        frame[4] ^= 1;
        assert_eq!(check_crc(&frame), Err(FrameError::Checksum));
    };
    check(b"123456789", 0xE306_9283);
    check(b"", 0);
    // RFC 3720, appendix B.4.
    check(&[0; 32], 0x8A91_36AA);
    check(&[0xFF; 32], 0x62A8_AB43);
    let up: Vec<u8> = (0..32).collect();
    check(&up, 0x46DD_794E);
}

#[test]
fn frames_are_found_however_the_stream_is_cut() {
    let frames: Vec<Vec<u8>> = requests::samples().into_iter().map(|s| s.frame).collect();
    let stream: Vec<u8> = frames.concat();
    let mut random = Random(1);
    for round in 0..200 {
        let (mut found, mut buffer, mut sent) = (Vec::new(), Vec::new(), 0);
        let most = 1 + random.below(400);
        while sent < stream.len() {
            let n = (1 + random.below(most)).min(stream.len() - sent);
            buffer.extend_from_slice(&stream[sent..sent + n]);
            sent += n;
            loop {
                match scan(&buffer, FRAME_BYTES_MAX) {
                    Scan::Frame { frame, rest } => {
                        found.push(frame.to_vec());
                        buffer = rest.to_vec();
                    }
                    Scan::Incomplete { need } => {
                        assert!(need > buffer.len(), "a scanner that asks for what is there spins");
                        break;
                    }
                    Scan::Bad(e) => panic!("round {round}: {e}"),
                }
            }
        }
        assert_eq!((found, buffer.len()), (frames.clone(), 0), "round {round}");
    }
}

#[test]
fn a_length_is_believed_only_within_bounds() {
    let check = |length: u32, expected: Scan<'_>| assert_eq!(scan(&length.to_le_bytes(), FRAME_BYTES_MAX), expected);
    check(0, Scan::Bad(FrameError::Length { got: 0 }));
    check(23, Scan::Bad(FrameError::Length { got: 23 }));
    check(24, Scan::Incomplete { need: 24 });
    check(4_096, Scan::Incomplete { need: 4_096 });
    check(4_097, Scan::Bad(FrameError::TooLarge { got: 4_097, max: FRAME_BYTES_MAX }));
    check(u32::MAX, Scan::Bad(FrameError::TooLarge { got: u32::MAX, max: FRAME_BYTES_MAX }));
    for n in 0..4 {
        assert_eq!(scan(&[0xFF; 4][..n], FRAME_BYTES_MAX), Scan::Incomplete { need: 4 });
    }
}

#[test]
fn every_sample_fits_its_limit() {
    for s in requests::samples() {
        assert!(matches!(scan(&s.frame, FRAME_BYTES_MAX), Scan::Frame { rest: [], .. }), "{}", s.name);
    }
    for s in answers::samples() {
        assert!(matches!(scan(&s.frame, ANSWER_BYTES_MAX), Scan::Frame { rest: [], .. }), "{}", s.name);
    }
}
