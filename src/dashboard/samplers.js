// The mark on a camera's card that says when a sampler of it is in trouble. Used by cameras.js.

import * as api from "./api.js";
import { h, setText } from "./dom.js";
import { sentence } from "./format.js";
import { isSamplerTrouble, samplerTrouble, toneMark } from "./state.js";
import { store } from "./store.js";

const EVERY_MS = 10_000;

/** Marks of the cards whose cameras have a sampler in trouble. One question for all cameras, none while nobody has tasks. */
export function watchSamplers(show, scope) {
  let asked = 0, any = true, turn = 0;
  const load = async () => {
    const mine = ++turn;
    asked = Date.now();
    try {
      const samplers = await api.samplers();
      if (mine !== turn) return;
      any = samplers.length > 0;
      show(Map.groupBy(samplers, (sampler) => sampler.camera_id));
    } catch {
      // The header says that the service is away; `again` asks anew.
    }
  };
  const seen = () => { if (!document.hidden) load(); };
  document.addEventListener("visibilitychange", seen);
  scope.add(() => { turn += 1; document.removeEventListener("visibilitychange", seen); });
  store.on("again", load, scope);
  store.on("event", ({ kind }) => { if (kind === "sampler_offline") load(); }, scope);
  store.on("tick", () => { if (any && !document.hidden && Date.now() - asked >= EVERY_MS) load(); }, scope);
  load();
}

/** The mark of a card; nothing while all samplers of the camera do as they are told. */
export class AiMark {
  constructor() {
    this.el = h("span", { class: "picture-mark tone-warn", hidden: true, data: { testid: "ai-mark" } }, toneMark("warn"), h("span"));
  }

  update(samplers, camera) {
    const bad = samplers.find((sampler) => isSamplerTrouble(sampler, camera));
    this.el.hidden = !bad;
    if (!bad) return;
    setText(this.el.lastChild, bad.state === "budget_exhausted" ? "AI: no budget left" : "AI: no pictures");
    this.el.title = sentence(samplerTrouble(bad));
  }
}
