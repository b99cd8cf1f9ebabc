// Plays a file in Chromium from its first picture to its last, eight times as fast, and seeks in it. Prints what the
// browser made of it as JSON; started by tests/it/export.rs.
//
//   node play.mjs FILE SECONDS…      the seconds are places to seek to

import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { chromium } from "playwright-core";

const [file, ...places] = process.argv.slice(2);
const { size } = statSync(file);
const server = createServer((request, response) => {
  if (request.url !== "/clip.mp4") return response.setHeader("content-type", "text/html").end("<video muted></video>");
  const [, first = 0, last = size - 1] = /bytes=(\d+)-(\d+)?/.exec(request.headers.range ?? "") ?? [];
  response.writeHead(request.headers.range ? 206 : 200, { "content-type": "video/mp4", "accept-ranges": "bytes",
    "content-length": last - first + 1, "content-range": `bytes ${first}-${last}/${size}` });
  return createReadStream(file, { start: Number(first), end: Number(last) }).on("error", () => response.destroy()).pipe(response);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"] });
try {
  const page = await browser.newPage();
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  const seen = await page.evaluate(async (places) => {
    const video = document.querySelector("video");
    const broken = new Promise((_, fail) => { video.addEventListener("error", () => fail(new Error(video.error.message))); });
    const until = (event) => Promise.race([broken, new Promise((resolve) => { video.addEventListener(event, resolve, { once: true }); })]);
    video.src = "/clip.mp4";
    await until("loadedmetadata");
    const { duration } = video, sought = [], frames = [];
    for (const place of places) {
      video.currentTime = place;
      await until("seeked");
      sought.push([video.currentTime, video.videoWidth]);
    }
    video.currentTime = 0;
    await until("seeked");
    const note = (_, frame) => { frames.push([frame.mediaTime, frame.width]); video.requestVideoFrameCallback(note); };
    video.requestVideoFrameCallback(note);
    video.playbackRate = 8;
    await video.play();
    await until("ended");
    return { duration, sought, frames, ended_at: video.currentTime };
  }, places.map(Number));
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
  server.close();
}
