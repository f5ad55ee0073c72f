// A hundred events a request.
import { rate, sendBatch, steady } from './common.js';
export { handleSummary } from './common.js';

export const options = steady(rate / 10);

export default function () {
  sendBatch(false);
}
