//! Writes GGUF files by hand, sound or not.

/// A file in the making.
#[derive(Clone, Default)]
pub(crate) struct GgufFile {
    entries: Vec<(String, Vec<u8>)>,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

impl GgufFile {
    /// Sets a key to a string.
    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        put_text(&mut bytes, value);
        self.entry(key, bytes)
    }

    /// Sets a key to a count.
    pub(crate) fn count(self, key: &str, value: u32) -> Self {
        self.entry(key, [4_u32.to_le_bytes(), value.to_le_bytes()].concat())
    }

    /// Sets a key to a number.
    pub(crate) fn real(self, key: &str, value: f32) -> Self {
        self.entry(key, [6_u32.to_le_bytes(), value.to_le_bytes()].concat())
    }

    /// Sets a tensor; `dims` run fastest first.
    pub(crate) fn tensor(mut self, name: &str, dims: &[u64], kind: u32, data: Vec<u8>) -> Self {
        self = self.without(name);
        self.tensors
            .push((name.to_owned(), dims.to_vec(), kind, data));
        self
    }

    /// Removes a tensor.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.tensors.retain(|(n, ..)| n != name);
        self
    }

    /// The file.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.entries.len() as u64).to_le_bytes());
        for (key, value) in &self.entries {
            put_text(&mut out, key);
            out.extend(value);
        }
        let mut data = Vec::new();
        for (name, dims, kind, bytes) in &self.tensors {
            put_text(&mut out, name);
            out.extend((dims.len() as u32).to_le_bytes());
            dims.iter().for_each(|dim| out.extend(dim.to_le_bytes()));
            out.extend(kind.to_le_bytes());
            out.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        out.resize(out.len().next_multiple_of(32), 0);
        out.extend(data);
        out
    }

    fn entry(mut self, key: &str, value: Vec<u8>) -> Self {
        self.entries.retain(|(k, _)| k != key);
        self.entries.push((key.to_owned(), value));
        self
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.bytes());
}
