// One event a request.
import { rate, sendSingle, steady } from './common.js';
export { handleSummary } from './common.js';

export const options = steady(rate);

export default function () {
  sendSingle();
}
