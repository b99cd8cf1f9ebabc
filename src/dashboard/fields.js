// What the camera form asks for: its fields as data, and which of them a make of camera needs. Used by form.js.

/** Makes of camera: `url` needs an explicit RTSP address; the others have a template and need only the address. */
export const VENDORS = {
  generic: { name: "Other (RTSP address)", url: true, needs: "Enter the camera's RTSP address. Its manual or app shows it, often under “RTSP” or “Network”." },
  onvif: { name: "ONVIF", url: true, needs: "Enter the camera's RTSP address; it is not asked for over ONVIF yet." },
  hikvision: { name: "Hikvision" }, dahua: { name: "Dahua" }, amcrest: { name: "Amcrest" }, axis: { name: "Axis" },
  reolink: { name: "Reolink" }, uniview: { name: "Uniview" }, hanwha: { name: "Hanwha (Wisenet)" },
  tplink: { name: "TP-Link (Tapo, VIGI)" }, foscam: { name: "Foscam" }, vivotek: { name: "Vivotek" },
};

export const vendorNeeds = (vendor) => VENDORS[vendor]?.needs
  ?? `The address is enough: the RTSP path of ${VENDORS[vendor]?.name ?? vendor} cameras is known. Most also want a user name and password.`;

const SCHEDULED = ["scheduled", "scheduled_event"], TRIGGERED = ["event", "scheduled_event"];
export const MODES = { continuous: "Always", scheduled: "In its schedule", event: "After triggers", scheduled_event: "After triggers, in its schedule" };
export const MIRROR_MODES = { recorded: "What is recorded", continuous: "Always, also when nothing is to be recorded" };
export const REFILL_METHODS = { auto: "As is found out", onvif: "By ONVIF", url: "By an address with times" };
export const takesTriggers = (camera) => TRIGGERED.includes(camera.record_mode) && camera.record_enabled;
export const hasSchedule = (camera) => SCHEDULED.includes(camera.record_mode);

/**
 * kind: text, url, zone, number, password, select, check, schedule. `nullable`: empty means null. `connection`: a probe
 * depends on it. `modes`: only with these record modes. `scale`: so many of the API's units are one of the field's.
 */
export const FIELDS = [
  { key: "name", label: "Name", kind: "text", hint: "What people call it. Changing it interrupts nothing.", placeholder: "Front door" },
  { key: "id", label: "Id", kind: "text", creation: true, hint: "Small letters, digits, - and _. Also the directory's name; cannot be changed later.", placeholder: "front" },
  { key: "vendor", label: "Make", kind: "select", connection: true, options: Object.entries(VENDORS).map(([key, { name }]) => [key, name]), initial: "generic" },
  { key: "main_url", label: "RTSP address (main stream)", kind: "url", nullable: true, connection: true, placeholder: "rtsp://192.0.2.7/stream1", hint: "Without user name and password; those have fields of their own." },
  { key: "address", label: "IP address or host name", kind: "text", nullable: true, connection: true, placeholder: "192.0.2.7" },
  { key: "username", label: "User name", kind: "text", nullable: true, connection: true, placeholder: "admin" },
  { key: "password", label: "Password", kind: "password", connection: true },
  { key: "rtsp_port", label: "RTSP port", kind: "number", connection: true, initial: 554, min: 1, max: 65535 },
  { key: "channel", label: "Channel", kind: "number", connection: true, initial: 1, min: 1, hint: "1 unless the device is a recorder with several cameras." },
  { key: "sub_url", label: "RTSP address (sub stream)", kind: "url", nullable: true, connection: true, placeholder: "rtsp://192.0.2.7/stream2" },
  { key: "transport", label: "Transport", kind: "select", connection: true, options: [["tcp", "TCP (loses nothing)"], ["udp", "UDP"], ["auto", "Automatic"]], initial: "tcp" },
  { key: "source", label: "Received by", kind: "select", nullable: true, connection: true, options: [["", "As the server is configured"], ["auto", "Automatic"], ["native", "native (Watchkeeper's own)"], ["rtspsrc", "rtspsrc (GStreamer's)"]], initial: "", hint: "Automatic: native, and rtspsrc where native cannot." },
  { key: "connect_seconds", label: "Wait for the first frame", kind: "number", unit: "seconds", connection: true, initial: 15, min: 5, max: 60, hint: "5 to 60, from the start of a connection attempt." },
  { key: "tls_fingerprint", label: "Certificate (SHA-256)", kind: "text", nullable: true, connection: true, hint: "Of an rtsps camera. Empty: the first one that brings pictures is kept, and no other is talked to." },
  { key: "allow_basic", label: "Let the password go in clear", kind: "check", connection: true, initial: false, hint: "Only for a camera that knows nothing better than Basic over plain RTSP, in a network that you trust." },
  { key: "record_enabled", label: "Record this camera", kind: "check", initial: true },
  { key: "record_mode", label: "When to record", kind: "select", options: Object.entries(MODES), initial: "continuous" },
  { key: "schedule", label: "Schedule", kind: "schedule", modes: SCHEDULED, hint: "Drag over the times to record. By keyboard: arrows move, Space paints, Shift with arrows paints on." },
  { key: "time_zone", label: "Time zone of the schedule", kind: "zone", nullable: true, modes: SCHEDULED, hint: "Empty: the server's." },
  { key: "pre_roll_seconds", label: "Before a trigger", kind: "number", unit: "seconds", initial: 10, min: 0, max: 60, modes: TRIGGERED, hint: "0 to 60, kept in memory." },
  { key: "post_roll_seconds", label: "After a trigger", kind: "number", unit: "seconds", initial: 30, min: 0, max: 3600, modes: TRIGGERED, hint: "0 to 3600. A further trigger prolongs it." },
  { key: "event_idle_session", label: "Stay connected while waiting for a trigger", kind: "check", initial: true, modes: TRIGGERED, hint: "Without it there is no footage from before a trigger." },
  { key: "record_audio", label: "Record sound, too", kind: "check", initial: false, hint: "Changing it interrupts the recording for a moment." },
  { key: "record_profile", label: "Stream to record", kind: "select", connection: true, options: [["main", "Main (full size)"], ["sub", "Sub (small)"]], initial: "main" },
  { key: "segment_seconds", label: "Length of a segment", kind: "number", unit: "seconds", initial: 60, min: 2, max: 3600, hint: "2 to 3600. A segment ends at the first keyframe after this time." },
  { key: "retention_hours", label: "Delete what is older than", kind: "number", unit: "hours", nullable: true, min: 1, hint: "Empty: never for its age alone. Protected footage stays." },
  { key: "quota_bytes", label: "Keep at most", kind: "number", unit: "GB", scale: 1e9, nullable: true, min: 0.001, hint: "Beyond it the oldest goes. Empty: as long as there is room." },
  { key: "mirror_enabled", label: "Second copy on the mirror", kind: "check", initial: true, hint: "Where the server's configuration has a mirror (mirror_dir)." },
  { key: "mirror_mode", label: "The mirror holds", kind: "select", options: Object.entries(MIRROR_MODES), initial: "recorded", modes: [...SCHEDULED, "event"], hint: "Always: it goes on outside schedule and triggers, when the primary keeps nothing." },
  { key: "refill_enabled", label: "Fetch what is missing from the camera's own storage", kind: "check", initial: false, hint: "For cameras that record themselves, on a card for instance. A test of the camera tells whether there is a way." },
  { key: "refill_method", label: "How it is fetched", kind: "select", options: Object.entries(REFILL_METHODS), initial: "auto" },
  { key: "refill_url", label: "Address of its recordings", kind: "text", nullable: true, placeholder: "rtsp://192.0.2.7/replay?from={start}&to={end}", hint: "With {start} and {end}. Empty: the make's own, if it is known, or ONVIF." },
  { key: "refill_time_format", label: "Times in it look like", kind: "select", options: [["basic", "20261127T100000Z"], ["extended", "2026-11-27T10:00:00Z"], ["underscores", "2026_11_27_10_00_00"], ["unix", "seconds since 1970"]], initial: "basic" },
  { key: "onvif_port", label: "Port of its ONVIF services", kind: "number", initial: 80, min: 1, max: 65535 },
];

/** Where each field stands for a make: what it needs first, the rest folded away. */
export function layout(vendor) {
  const url = VENDORS[vendor]?.url ?? false;
  return {
    camera: ["name", "id"],
    connection: url ? ["vendor", "main_url", "username", "password"] : ["vendor", "address", "username", "password", "channel"],
    recording: ["record_enabled", "record_mode", "schedule", "time_zone", "pre_roll_seconds", "post_roll_seconds", "event_idle_session",
      "record_audio", "record_profile", "segment_seconds", "retention_hours", "quota_bytes", "mirror_enabled", "mirror_mode", "refill_enabled"],
    more: [...(url ? ["sub_url", "transport", "address", "rtsp_port", "channel"] : ["rtsp_port", "transport", "main_url", "sub_url"]), "source", "connect_seconds", "tls_fingerprint", "allow_basic",
      "refill_method", "refill_url", "refill_time_format", "onvif_port"],
    required: url ? "main_url" : "address",
  };
}

/** A name as an id: "Front door" → "front-door". */
export function slug(name) {
  return name.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 63);
}
