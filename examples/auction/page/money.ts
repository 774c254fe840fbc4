// Amounts are whole cents, as in the rooms. No amount passes through a float with a fraction.

const format = new Intl.NumberFormat(undefined, { style: "currency", currency: "EUR" });
const whole = new Intl.NumberFormat(undefined, { style: "currency", currency: "EUR", maximumFractionDigits: 0 });

/** Returns "€12.50", and "€12" for whole euros. */
export const money = (cents: number): string => (cents % 100 === 0 ? whole : format).format(cents / 100);

/** Returns "12.50", as an input has it. */
export const plain = (cents: number): string => `${Math.floor(cents / 100)}.${String(cents % 100).padStart(2, "0")}`;

/** Reads "12", "12.5" and "12,50" as cents; `undefined` for anything else. */
export function parseMoney(text: string): number | undefined {
  const match = /^\s*€?\s*(\d{1,9})(?:[.,](\d{1,2}))?\s*€?\s*$/.exec(text);
  if (!match) return undefined;
  const [, euros = "", cents = ""] = match;
  return Number(euros) * 100 + Number(cents.padEnd(2, "0"));
}
