// Values to words: sizes, rates, durations, times. Pure but for the browser's time zone. Used by every view.

const two = (n) => String(n).padStart(2, "0");

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let i = 0;
  while (n >= 999.5 && i < units.length - 1) { n /= 1000; i += 1; }
  return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

export function bitRate(bps) {
  if (bps === null || bps === undefined) return "–";
  return bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bps / 1000)} kbit/s`;
}

export function fps(value) {
  return value === null || value === undefined ? "–" : `${value.toFixed(1)} fps`;
}

export function seconds(value) {
  return value === null || value === undefined ? "–" : `${value.toFixed(1)} s`;
}

export function count(n) {
  return n === null || n === undefined ? "–" : n.toLocaleString("en-GB");
}

export function codec(name) {
  return { h264: "H.264", h265: "H.265", mjpeg: "MJPEG" }[name] ?? (name ? name.toUpperCase() : "–");
}

export function size(width, height) {
  return width && height ? `${width}×${height}` : "–";
}

/** "1 lost packet", "3 lost packets". */
export function counted(n, one) {
  return `${count(n)} ${one}${n === 1 ? "" : "s"}`;
}

/** What receives a stream, and why that is not the native source, if it was tried. */
export function receivedBy({ source, source_fallback: why }) {
  return source ? `${source}${why ? ` (${why})` : ""}` : "–";
}

/** A length of time in at most two units: "45 s", "2 min 5 s", "3 h 4 min", "2 d 3 h". */
export function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  const min = Math.floor(s / 60);
  if (min < 10) return s % 60 ? `${min} min ${s % 60} s` : `${min} min`;
  if (min < 60) return `${min} min`;
  const hours = Math.floor(min / 60);
  if (hours < 24) return min % 60 ? `${hours} h ${min % 60} min` : `${hours} h`;
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${hours / 24} d`;
}

/** For what is less than an hour old. */
export function ago(ms) {
  if (ms < 2000) return "just now";
  return ms < 60_000 ? `${duration(ms)} ago` : `${Math.floor(ms / 60_000)} min ago`;
}

/** "14:05:09" in the browser's zone. */
export function clock(ms) {
  const d = new Date(ms);
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** "14:05". */
export function clockShort(ms) {
  return clock(ms).slice(0, 5);
}

/** "2026-11-20", the local date. */
export function dateKey(ms) {
  const d = new Date(ms);
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
}

/** "Fri 20 Nov". */
export function dateShort(ms) {
  return new Date(ms).toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short" });
}

/** "Fri 20 Nov 2026, 14:05:09 (GMT+1)": the full local time, for titles. */
export function full(ms) {
  const d = new Date(ms);
  const date = d.toLocaleDateString("en-GB", { weekday: "short", day: "numeric", month: "short", year: "numeric" });
  const zone = new Intl.DateTimeFormat("en-GB", { timeZoneName: "short" }).formatToParts(d)
    .find((part) => part.type === "timeZoneName")?.value ?? "";
  return `${date}, ${clock(ms)}${zone ? ` (${zone})` : ""}`;
}

/** The server's lower-case messages, in which backticks quote, as sentences. */
export function sentence(text) {
  text = text.replace(/`([^`]*)`/g, "“$1”");
  return `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

/** What a failed call says, as sentences. At the field that it is about (`at`), the field's name is left out. */
export function complaint({ message, hint, field }, at = null) {
  const text = at !== null && message.startsWith(`${field}: `) ? message.slice(field.length + 2) : message;
  return hint ? `${sentence(text)} ${sentence(hint)}` : sentence(text);
}
