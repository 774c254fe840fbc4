// The time of the server. The clock of a phone or a laptop can be minutes wrong, and bids are counted by the server's.

let offset = -Infinity;

/**
 * Takes a server's time from a message. A message that was delayed, or repeated after a lost connection, has an old time, so the
 * latest estimate is the best: no message arrives before it was sent. `performance.now` does not jump when the user sets the
 * clock.
 */
export function sync(nowMs: number): void {
  offset = Math.max(offset, nowMs - performance.now());
}

/** Returns the server's time. Before the first message it is that of the device. */
export function serverNow(): number {
  return offset === -Infinity ? Date.now() : performance.now() + offset;
}

/** The last seconds, in which a countdown shows tenths and looks urgent. */
export const URGENT_MS = 10_000;

/** Returns a time that is left as "2 d 3 h", "4:05" or, when it is urgent, "9.8". */
export function countdown(ms: number): string {
  if (ms <= 0) return "0:00";
  if (ms <= URGENT_MS) return (Math.ceil(ms / 100) / 10).toFixed(1);
  const seconds = Math.ceil(ms / 1_000);
  const two = (number: number) => String(number).padStart(2, "0");
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}:${two(seconds % 60)}`;
  const hours = Math.floor(seconds / 3_600);
  if (hours < 24) return `${hours}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** Calls the function at once and then ten times in a second, until the signal. */
export function everyTick(run: () => void, signal: AbortSignal): void {
  run();
  const timer = setInterval(run, 100);
  signal.addEventListener("abort", () => clearInterval(timer));
}
