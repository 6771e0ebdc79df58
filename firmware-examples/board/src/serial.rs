//! Serial ports that are written to by waiting.

/// A kind of serial port: what its registers do.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// Bytes of a register.
    wide: bool,
    /// Where bytes are written.
    data: usize,
    /// The register that says whether there is room.
    state: usize,
    /// Its bits that count, and what they are where there is room.
    room: (u32, u32),
    /// What is written to which register beforehand.
    setup: &'static [(usize, u32)],
}

/// Arm's CMSDK APB UART: 16 is the least divisor of the baud rate, bit 0 of CTRL enables sending.
#[allow(dead_code, reason = "each board has one of these")]
pub(crate) const CMSDK: Kind = Kind {
    wide: true,
    data: 0x00,
    state: 0x04,
    room: (1, 0),
    setup: &[(0x10, 16), (0x08, 1)],
};

/// The 16550: bit 5 of LSR says that there is room.
#[allow(dead_code, reason = "each board has one of these")]
pub(crate) const NS16550: Kind = Kind {
    wide: false,
    data: 0,
    state: 5,
    room: (0x20, 0x20),
    setup: &[],
};

/// A serial port.
pub struct Serial {
    kind: Kind,
    registers: usize,
}

impl Serial {
    pub(crate) fn new(kind: Kind, registers: usize) -> Serial {
        let port = Serial { kind, registers };
        kind.setup
            .iter()
            .for_each(|&(at, value)| port.set(at, value));
        port
    }

    /// Sends bytes; waits where there is no room.
    pub fn send(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let (mask, value) = self.kind.room;
            while self.get(self.kind.state) & mask != value {}
            self.set(self.kind.data, u32::from(byte));
        }
    }

    fn get(&self, at: usize) -> u32 {
        let register = self.registers + at;
        // SAFETY: the table gives the registers of a serial port, which are not memory.
        unsafe {
            if self.kind.wide {
                (register as *const u32).read_volatile()
            } else {
                u32::from((register as *const u8).read_volatile())
            }
        }
    }

    fn set(&self, at: usize, value: u32) {
        let register = self.registers + at;
        // SAFETY: the table gives the registers of a serial port, which are not memory.
        unsafe {
            if self.kind.wide {
                (register as *mut u32).write_volatile(value);
            } else {
                (register as *mut u8).write_volatile(value as u8);
            }
        }
    }
}
