// Single events, of which 1 % are bad and 2 % were sent before.
import { check } from 'k6';
import { event, json, outcome, post, rate, sendSingle, sent, steady } from './common.js';
export { handleSummary } from './common.js';

export const options = steady(rate);

let known = null;

function sendBad() {
  const bad = Object.assign(event(), { eventType: 'no_such_type' });
  sent.add(1);
  const answer = post('/events', bad);
  const said = json(answer);
  const ok = check(answer, {
    'bad: 400 rejected, with code and pointer': () =>
      answer.status === 400 && said.status === 'rejected' && Boolean(said.code) && said.errors[0].pointer === '/eventType',
  });
  if (ok) outcome.rejected.add(1);
}

function sendAgain() {
  sent.add(1);
  const answer = post('/events', known.event);
  const said = json(answer);
  const ok = check(answer, {
    'duplicate: 202 with the first seq': () => answer.status === 202 && said.duplicate === true && said.seq === known.seq,
  });
  if (ok) outcome.duplicate.add(1);
}

export default function () {
  // By chance, so that the shares hold however the turns are spread over the clients.
  const draw = Math.random();
  if (draw < 0.01) sendBad();
  else if (draw < 0.03 && known) sendAgain();
  else known = sendSingle();
}
