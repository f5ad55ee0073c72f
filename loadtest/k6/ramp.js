// Batches, more and more of them, up to what k6 or the daemon can do. A refusal with Retry-After is a right answer.
import { options as shape, rate, seconds, sendBatch } from './common.js';
export { handleSummary } from './common.js';

export const options = shape({
  executor: 'ramping-arrival-rate',
  startRate: Math.max(1, Math.round(rate / 20)),
  timeUnit: '1s',
  preAllocatedVUs: 50,
  maxVUs: 300,
  stages: [{ target: rate * 2, duration: `${seconds}s` }],
});

export default function () {
  sendBatch(true);
}
