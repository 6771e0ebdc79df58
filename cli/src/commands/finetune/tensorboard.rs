//! A run's curves as TensorBoard reads them: records of length, checksum, message, checksum, each message an `Event` of
//! TensorFlow's `event.proto` with one scalar in it.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// The file, which is written anew by every run.
pub(super) struct Board {
    file: File,
    began: f64,
}

impl Board {
    pub(super) fn create(folder: &Path) -> io::Result<Board> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut board = Board {
            file: File::create(folder.join("events.out.tfevents.inkstone"))?,
            began: now.map_or(0.0, |now| now.as_secs_f64()),
        };
        board.write(0, 0.0, &[field(3, b"brain.Event:2")])?;
        Ok(board)
    }

    /// Adds the value of a curve at a step, `seconds` after the run began.
    pub(super) fn scalar(
        &mut self,
        tag: &str,
        step: u64,
        seconds: f64,
        value: f64,
    ) -> io::Result<()> {
        // Summary.value, of which tag is 1 and simple_value 2, a float.
        let simple = [&[2 << 3 | 5][..], &(value as f32).to_le_bytes()].concat();
        let value = [field(1, tag.as_bytes()), simple].concat();
        self.write(step, seconds, &[field(5, &field(1, &value))])
    }

    fn write(&mut self, step: u64, seconds: f64, what: &[Vec<u8>]) -> io::Result<()> {
        let time = [&[1 << 3 | 1][..], &(self.began + seconds).to_le_bytes()].concat();
        let step = [&[2 << 3][..], &varint(step)].concat();
        let message = [time, step, what.concat()].concat();
        let length = (message.len() as u64).to_le_bytes();
        let record = [
            &length[..],
            &checksum(&length),
            &message,
            &checksum(&message),
        ];
        self.file.write_all(&record.concat())
    }
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2][..], &varint(bytes.len() as u64), bytes].concat()
}

/// Seven bits a byte, the lowest first.
fn varint(mut x: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while x > 0x7f {
        bytes.push(x as u8 | 0x80);
        x >>= 7;
    }
    bytes.push(x as u8);
    bytes
}

/// CRC-32C, rotated and moved, as TFRecord files have it.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    static CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let crc = CRC.checksum(bytes);
    crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_fields_are_written_as_protocol_buffers_are() {
        assert_eq!(varint(300), [0xac, 0x02]);
        assert_eq!(field(3, b"ab"), [0x1a, 2, b'a', b'b']);
        // Of the file that TensorFlow begins with: the length 24 and its checksum.
        assert_eq!(checksum(&24_u64.to_le_bytes()), [0xa3, 0x7f, 0x4b, 0x22]);
    }
}
