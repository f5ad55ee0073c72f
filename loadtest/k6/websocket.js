// Streams: one event a message, then several in one, a heartbeat between; an ack for each, in order.
import ws from 'k6/ws';
import { check } from 'k6';
import { base, event, headers, options as shape, outcome, seconds, sent } from './common.js';
export { handleSummary } from './common.js';

export const options = shape({ executor: 'constant-vus', vus: 10, duration: `${seconds}s` });

const singles = 20;
const together = 5;

export default function () {
  const expected = [];
  let acks = 0;
  let wrong = 0;
  let beats = 0;
  const upgrade = headers.Authorization ? { headers: { Authorization: headers.Authorization } } : {};
  const answer = ws.connect(`${base.replace(/^http/, 'ws')}/events/stream`, upgrade, (socket) => {
    const say = (payload) => {
      const events = Array.isArray(payload) ? payload : [payload];
      events.forEach((one) => expected.push(one.eventId));
      sent.add(events.length);
      socket.send(JSON.stringify({ type: 'cart_event', payload }));
    };
    const next = () => {
      if (acks < singles) say(event());
      else if (acks === singles) {
        socket.send(JSON.stringify({ type: 'heartbeat' }));
        say(Array.from({ length: together }, event));
      } else if (acks === singles + together) socket.close();
    };
    socket.on('open', next);
    socket.on('message', (text) => {
      const said = JSON.parse(text);
      if (said.type === 'heartbeat_ack') {
        beats += 1;
        return;
      }
      if (said.type !== 'event_ack' || said.status !== 'received' || said.eventId !== expected[acks] || !(said.seq > 0)) {
        wrong += 1;
        socket.close();
        return;
      }
      acks += 1;
      outcome.accepted.add(1);
      if (acks <= singles || acks === singles + together) next();
    });
    // Whatever is missing by then is a failed check.
    socket.setTimeout(() => socket.close(), 30000);
  });
  check(answer, {
    'stream: upgraded': () => answer && answer.status === 101,
    'stream: an ack for each event, in order': () => wrong === 0 && acks === singles + together,
    'stream: the heartbeat is answered': () => beats === 1,
  });
}
