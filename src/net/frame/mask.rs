/// Removes (or applies) the mask (RFC 6455 §5.3). `key` is the one for the first byte of `bytes`: see [`rotate`].
pub(crate) fn unmask(bytes: &mut [u8], key: [u8; 4]) {
    // Blocks of a fixed size become vector instructions without any `unsafe`; the key repeats every four bytes, so
    // each block starts with the same one.
    const BLOCK: usize = 32;
    let [a, b, c, d] = key;
    let wide: [u8; BLOCK] = std::array::from_fn(|i| [a, b, c, d][i % 4]);
    let (blocks, rest) = bytes.as_chunks_mut::<BLOCK>();
    for block in blocks {
        for (byte, key) in block.iter_mut().zip(wide) {
            *byte ^= key;
        }
    }
    for (byte, key) in rest.iter_mut().zip(wide) {
        *byte ^= key;
    }
}

/// The key for what follows `consumed` bytes of a payload.
pub(crate) fn rotate(mut key: [u8; 4], consumed: usize) -> [u8; 4] {
    key.rotate_left(consumed % 4);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_and_cut_gives_what_the_definition_gives() {
        let key = [0x12, 0x34, 0x56, 0xf8];
        for length in 0..200 {
            let plain: Vec<u8> = (0..length).map(|i| (i * 7) as u8).collect();
            let masked: Vec<u8> = plain.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]).collect();
            for cut in 0..=length {
                let mut bytes = masked.clone();
                let (head, tail) = bytes.split_at_mut(cut);
                unmask(head, key);
                unmask(tail, rotate(key, cut));
                assert_eq!(bytes, plain, "length {length} cut {cut}");
            }
        }
    }
}
