// A long run of everything at once: singles with bad ones and duplicates among them, batches, streams.
import mixed from './mixed.js';
import stream from './websocket.js';
import { rate, sendBatch, steady } from './common.js';
export { handleSummary } from './common.js';

export const options = steady(rate);

export default function () {
  const draw = Math.random();
  if (draw < 0.01) sendBatch(false);
  else if (draw < 0.02) stream();
  else mixed();
}
