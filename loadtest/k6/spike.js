// Calm, ten times as much at once, calm again: what is refused meanwhile says when to try again, and afterwards
// everything is taken as before.
import exec from 'k6/execution';
import { options as shape, rate, seconds, sendBatch } from './common.js';
export { handleSummary } from './common.js';

const calm = Math.max(1, Math.round(rate / 20));
const [before, during] = [seconds * 0.25, seconds * 0.35];
// What the spike has left waiting has half of the last stretch to drain.
const recoveredAfter = before + during + (seconds - before - during) / 2;
const spell = (length) => `${Math.round(length * 1000)}ms`;

export const options = shape({
  executor: 'ramping-arrival-rate',
  startRate: calm,
  timeUnit: '1s',
  preAllocatedVUs: 50,
  maxVUs: 300,
  stages: [
    { target: calm, duration: spell(before) },
    { target: calm * 10, duration: '0s' },
    { target: calm * 10, duration: spell(during) },
    { target: calm, duration: '0s' },
    { target: calm, duration: spell(seconds - before - during) },
  ],
});

export default function () {
  const elapsed = (Date.now() - exec.scenario.startTime) / 1000;
  sendBatch(elapsed < recoveredAfter);
}
