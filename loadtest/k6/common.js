// Events, requests, and what an answer must be. Every scenario counts what became of each event.
import http from 'k6/http';
import exec from 'k6/execution';
import { check } from 'k6';
import { Counter } from 'k6/metrics';

export const base = __ENV.TARGET;
export const rate = Number(__ENV.RATE);
export const seconds = Number(__ENV.SECONDS);
export const batchSize = 100;

export const sent = new Counter('events_sent');
export const outcome = {
  accepted: new Counter('events_accepted'),
  duplicate: new Counter('events_duplicate'),
  rejected: new Counter('events_rejected'),
  refused: new Counter('events_refused'),
};

export const headers = { 'Content-Type': 'application/json' };
if (__ENV.INGESTD_TOKEN) headers.Authorization = `Bearer ${__ENV.INGESTD_TOKEN}`;

// Options of a scenario at a constant rate of requests.
export function steady(requestsPerSecond) {
  return options({
    executor: 'constant-arrival-rate',
    rate: Math.max(1, Math.round(requestsPerSecond)),
    timeUnit: '1s',
    duration: `${seconds}s`,
    preAllocatedVUs: 50,
    maxVUs: 500,
  });
}

// A single wrong answer fails the scenario.
export function options(scenario) {
  return {
    scenarios: { load: Object.assign({ gracefulStop: '60s' }, scenario) },
    thresholds: { checks: ['rate==1'] },
    summaryTrendStats: ['med', 'p(99)', 'max'],
    discardResponseBodies: false,
  };
}

export function handleSummary(data) {
  return { [__ENV.SUMMARY]: JSON.stringify(data) };
}

let made = 0;
const types = ['cart_created', 'cart_updated', 'cart_abandoned', 'item_added', 'item_removed', 'purchase_completed'];

// A good event, its id unique in the run.
export function event() {
  const vu = exec.vu.idInTest;
  made += 1;
  return {
    eventId: `k6-${__ENV.SEED}-${vu}-${made}`,
    eventType: types[made % types.length],
    timestamp: new Date().toISOString(),
    userId: `user_${vu}`,
    sessionId: `session_${vu}_${made % 10}`,
    storeId: `store_${vu % 50}`,
    data: { items: [{ productId: `sku_${made % 1000}`, quantity: 1 + (made % 5), price: 19.99 }], total: 19.99 },
    metadata: { userAgent: 'k6', referrer: 'https://shop.example/cart' },
  };
}

export function post(path, body) {
  return http.post(base + path, typeof body === 'string' ? body : JSON.stringify(body), { headers });
}

export function json(answer) {
  try {
    return answer.json() || {};
  } catch (_) {
    return {};
  }
}

// Not now: allowed under overload only, and only with a word on when to try again.
export function isRefusal(answer) {
  return (answer.status === 429 || answer.status === 503) && Boolean(answer.headers['Retry-After']);
}

// Posts one good event, which must be accepted; returns it with its seq.
export function sendSingle() {
  const one = event();
  sent.add(1);
  const answer = post('/events', one);
  const said = json(answer);
  const ok = check(answer, {
    'single: 202 accepted, with id and seq': () =>
      answer.status === 202 && said.status === 'accepted' && said.eventId === one.eventId && said.seq > 0 && !said.duplicate,
  });
  if (ok) outcome.accepted.add(1);
  return { event: one, seq: said.seq };
}

// Posts a batch of good events; `mayRefuse`: the server may be asked for more than it can do.
export function sendBatch(mayRefuse) {
  const events = Array.from({ length: batchSize }, event);
  sent.add(events.length);
  const answer = post('/events/batch', { events });
  if (mayRefuse && isRefusal(answer)) {
    check(answer, { 'batch: refused with Retry-After': () => true });
    outcome.refused.add(events.length);
    return;
  }
  const said = json(answer);
  const ok = check(answer, {
    'batch: 202, all of it stored': () =>
      answer.status === 202 && said.totalEvents === events.length && said.successful === events.length && said.duplicates === 0,
  });
  if (ok) outcome.accepted.add(events.length);
}
