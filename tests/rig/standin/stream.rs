//! Just enough WebSocket: masked text frames in, one acknowledgement or error each out.

use std::io::{self, Read, Write};

use serde_json::{Value, json};

use crate::intake::id_of;
use crate::store::Store;

/// Upgrades without the proof that a browser would want, then answers message by message.
pub(crate) fn serve(reader: &mut impl Read, writer: &mut impl Write, store: &Store) -> io::Result<()> {
    writer.write_all(b"HTTP/1.1 101 -\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
    loop {
        let message: Value = serde_json::from_slice(&read_frame(reader)?)?;
        let event = &message["payload"];
        let answer = match id_of(event)
            .map(|id| (store.append(std::slice::from_ref(&id), &event.to_string(), false), id))
        {
            None => json!({"type": "event_error", "eventId": event["eventId"], "code": "missing_field"}),
            Some((Err(_), id)) => json!({"type": "event_error", "eventId": id, "code": "disk_reserve"}),
            Some((Ok(stored), id)) => {
                let (seq, duplicate) = (stored[0].seq, stored[0].duplicate);
                json!({"type": "event_ack", "eventId": id, "status": "received", "seq": seq, "duplicate": duplicate})
            }
        };
        let text = answer.to_string();
        let length = (text.len() as u16).to_be_bytes();
        writer.write_all(&[&[0x81, 126], &length[..], text.as_bytes()].concat())?;
    }
}

fn read_frame(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = [0; 2];
    reader.read_exact(&mut head)?;
    let mut wide = [0; 8];
    let width = match head[1] & 0x7f {
        126 => 2,
        127 => 8,
        short => {
            wide[7] = short;
            0
        }
    };
    reader.read_exact(&mut wide[8 - width..])?;
    let mut mask = [0; 4];
    reader.read_exact(&mut mask)?;
    let mut payload = vec![0; u64::from_be_bytes(wide) as usize];
    reader.read_exact(&mut payload)?;
    payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Ok(payload)
}
