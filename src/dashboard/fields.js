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

/** kind: text, url, number, password, select, check. `nullable`: empty means null. `connection`: a probe depends on it. */
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
  { key: "record_enabled", label: "Record this camera", kind: "check", initial: true },
  { key: "record_profile", label: "Stream to record", kind: "select", connection: true, options: [["main", "Main (full size)"], ["sub", "Sub (small)"]], initial: "main" },
  { key: "segment_seconds", label: "Length of a segment", kind: "number", unit: "seconds", initial: 60, min: 2, max: 3600, hint: "2 to 3600. A segment ends at the first keyframe after this time." },
];

/** Where each field stands for a make: what it needs first, the rest folded away. */
export function layout(vendor) {
  const url = VENDORS[vendor]?.url ?? false;
  return {
    camera: ["name", "id"],
    connection: url ? ["vendor", "main_url", "username", "password"] : ["vendor", "address", "username", "password", "channel"],
    recording: ["record_enabled", "record_profile", "segment_seconds"],
    more: url ? ["sub_url", "transport", "address", "rtsp_port", "channel"] : ["rtsp_port", "transport", "main_url", "sub_url"],
    required: url ? "main_url" : "address",
  };
}

/** A name as an id: "Front door" → "front-door". */
export function slug(name) {
  return name.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 63);
}
