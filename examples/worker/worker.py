#!/usr/bin/env python3
"""A worker for Watchkeeper: takes tasks, looks at pictures, says what it sees. A pattern for your own.

It does tasks of two types. `motion` is what differs from a background that is learned. `people` is people by OpenCV's
HOG detector; what moves keeps hold of them in the frames that the detector misses. Whatever is found is followed from
frame to frame, so that zones can tell who comes, stays and goes. `docs/workers.md` takes it apart.

It needs nothing but OpenCV, and survives whatever the service does: a restart, a lost lease, a camera that is away.
"""

import argparse
import http.client
import itertools
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, Mapping

import cv2
import numpy as np

TTL_S = 30  # tasks are leased for so long, and the lease renewed three times in it
WAIT_S = 20  # so long one question for a picture waits
AGAIN_S = 2.0  # between tries while something is away
TRIES = 5  # for one post
FORGET_S = 1.5  # a track that is not seen for so long has ended
SURE_S = 2.0  # what HOG took for a person stays one for so long without its word
BEFORE_MAX = 10  # so many looks at a track are kept until it is known what it is
Picture = np.ndarray
log = logging.getLogger("worker")
numbers = itertools.count(1)
RUN = f"{int(time.time()) & 0xFFFFF:x}"  # a worker that starts anew must not use names of tracks again


@dataclass(frozen=True)
class Box:
    """In parts of the picture, 0 to 1."""

    x: float
    y: float
    w: float
    h: float

    @staticmethod
    def around(x: float, y: float, w: float, h: float, of: Picture) -> "Box | None":
        """From pixels, without what lies outside of the picture; None if nothing is left."""
        height, width = of.shape[:2]
        left, top = max(x / width, 0.0), max(y / height, 0.0)
        # Who is cut off by the lower edge still stands in a zone that ends there.
        right, bottom = min((x + w) / width, 1.0), min((y + h) / height, 0.999)
        return Box(left, top, right - left, bottom - top) if right > left and bottom > top else None

    def shared(self, other: "Box") -> float:
        """The area that lies in both."""
        w = min(self.x + self.w, other.x + other.w) - max(self.x, other.x)
        h = min(self.y + self.h, other.y + other.h) - max(self.y, other.y)
        return max(w, 0.0) * max(h, 0.0)

    def likeness(self, other: "Box") -> float:
        """Intersection over union: 1 is the same box, 0 another place."""
        shared = self.shared(other)
        return shared / (self.w * self.h + other.w * other.h - shared)

    def mostly_in(self, other: "Box") -> bool:
        return self.shared(other) > 0.5 * self.w * self.h


@dataclass
class Found:
    """Something in one picture."""

    box: Box
    confidence: float | None  # None: may be something, if a track says so


class Motion:
    """What differs from the background, which is learned and slowly forgotten."""

    label = "motion"

    def __init__(self, task: dict[str, Any]) -> None:
        self.least = float(task["config"].get("min_area", 0.004))  # of the picture
        self.background = cv2.createBackgroundSubtractorMOG2(history=int(60 * task["fps"]) + 1, varThreshold=25)

    def look(self, picture: Picture) -> list[Found]:
        mask = self.background.apply(cv2.GaussianBlur(picture, (5, 5), 0))
        mask = cv2.threshold(mask, 200, 255, cv2.THRESH_BINARY)[1]  # 127 is shadow
        small, tall = picture.shape[0] // 60 + 1, picture.shape[0] // 8 + 1
        mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((small, small), np.uint8))
        # Legs and head belong to the same body.
        mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((tall, tall // 2 + 1), np.uint8))
        parts = cv2.connectedComponentsWithStats(mask)[2][1:].tolist()  # the first is the background
        boxes = [Box.around(x, y, w, h, picture) for x, y, w, h, area in parts if area >= self.least * mask.size]
        return [Found(box, min(0.5 + 5 * box.w * box.h, 0.99)) for box in boxes if box]


class People:
    """People as HOG sees them. It wants them upright, 96 pixels high or more: choose the task's width so."""

    label = "person"

    def __init__(self, task: dict[str, Any]) -> None:
        self.motion = Motion(task)
        self.least = float(task["config"].get("min_confidence", 0.5))
        self.hog = cv2.HOGDescriptor()
        self.hog.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())

    def look(self, picture: Picture) -> list[Found]:
        blobs = [Found(found.box, None) for found in self.motion.look(picture)]
        # Who fills the picture from top to bottom is found too: the detector wants to see something round a person.
        edge = picture.shape[0] * 3 // 10
        framed = cv2.copyMakeBorder(picture, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
        windows, scores = self.hog.detectMultiScale(framed, winStride=(8, 8), scale=1.05)
        hits = sorted(zip(np.ravel(scores).tolist(), windows.tolist() if len(windows) else []), reverse=True)
        people: list[Found] = []
        for score, (x, y, w, h) in hits:
            # A window is wider and higher than who is in it.
            box = Box.around(x - edge + w / 6, y - edge + h / 8, w * 2 / 3, h * 13 / 16, picture)
            confidence = float(1 / (1 + np.exp(-score)))
            if box is None or confidence < self.least or any(box.mostly_in(other.box) for other in people):
                continue
            # What moves there is this person. Its outline is nearer to the truth, if it is whole.
            there = [blob for blob in blobs if blob.box.mostly_in(box) or box.mostly_in(blob.box)]
            blobs = [blob for blob in blobs if blob not in there]
            whole = [blob.box for blob in there if blob.box.likeness(box) > 0.5]
            people.append(Found(whole[0] if whole else box, confidence))
        return people + blobs


EYES: dict[str, Callable[[dict[str, Any]], "Motion | People"]] = {"motion": Motion, "people": People}


@dataclass
class Track:
    """Somebody who is followed from picture to picture."""

    name: str
    box: Box
    since: float
    seen: float
    sure: float | None = None  # when it was known last what it is
    confidence: float = 0.0
    told: bool = False
    before: list[tuple[int, Box]] = field(default_factory=list)  # frames in which it was not known yet


class Tracker:
    """Gives what is found in one picture the names that it had in those before."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []

    def follow(self, found: list[Found], now: float) -> tuple[list[Track], list[Track]]:
        """Those that are in this picture and known to be something, and those that have ended. `now`: seconds."""
        pairs = [(track.box.likeness(each.box), track, each) for track in self.tracks for each in found]
        free, rest = list(self.tracks), list(found)
        for likeness, track, each in sorted(pairs, key=lambda pair: pair[0], reverse=True):
            if likeness > 0.2 and track in free and each in rest:
                free.remove(track)
                rest.remove(each)
                self.see(track, each, now)
        for each in rest:
            track = Track(f"{RUN}-{next(numbers)}", each.box, since=now, seen=now)
            self.see(track, each, now)
            self.tracks.append(track)
        ended = [track for track in self.tracks if now - track.seen > FORGET_S]
        self.tracks = [track for track in self.tracks if track not in ended]
        here = [track for track in self.tracks if track.seen == now]
        return [track for track in here if track.sure is not None and now - track.sure <= SURE_S], ended

    @staticmethod
    def see(track: Track, found: Found, now: float) -> None:
        track.box, track.seen = found.box, now
        if found.confidence is not None:
            track.sure, track.confidence = now, found.confidence


@dataclass
class Answer:
    """What the service said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        return json.loads(self.body)

    def why(self) -> str:
        try:
            error = self.json()["error"]
            return f"{self.status} {error['code']}: {error['message']}"
        except (ValueError, KeyError, TypeError):
            return str(self.status)

    def wait_s(self) -> float:
        """When to ask again."""
        after = self.headers.get("Retry-After", "")
        return float(after) if after.isdigit() else AGAIN_S


class Service:
    """Watchkeeper's HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        """Whatever is answered, refusals too. OSError if the service is away."""
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with self.opener.open(request, timeout=WAIT_S + 20) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Answer(refusal.code, refusal.headers, refusal.read())
        except http.client.HTTPException as error:
            raise ConnectionError(f"{type(error).__name__} {error}") from error


class Teller:
    """Logs what stays the same once only."""

    def __init__(self, who: str) -> None:
        self.who, self.last = who, ""

    def tell(self, what: str) -> None:
        if what != self.last:
            log.warning("%s: %s", self.who, what)
        self.last = what

    def fine(self) -> None:
        if self.last:
            log.info("%s: goes on", self.who)
        self.last = ""


class Work(threading.Thread):
    """One task: asks for each picture, looks at it, posts what is there."""

    def __init__(self, worker: "Worker", task: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self.worker, self.service, self.task = worker, worker.service, task
        self.eye, self.tracker = EYES[task["type"]](task), Tracker()
        self.teller = Teller(f"{task['camera_id']}, task {task['id']} ({task['type']})")
        self.ends = threading.Event()

    def run(self) -> None:
        log.info("%s: begins", self.teller.who)
        after = 0
        while not self.ends.is_set():
            path = f"/api/v1/cameras/{self.task['camera_id']}/frame?task={self.task['id']}&after={after}&wait={WAIT_S}"
            try:
                answer = self.service.ask("GET", path)
            except OSError:
                answer, after = None, 0  # a service that starts anew may count from elsewhere; who leases says why
            if self.ends.is_set():
                break
            if answer and answer.status == 200:
                after = int(answer.headers["X-Frame-Number"])
                self.look(after, answer)
            elif not answer or answer.status != 204:  # 204: no picture came, and the question was the wait
                if answer:
                    self.teller.tell(f"no picture: {answer.why()}")
                self.ends.wait(answer.wait_s() if answer else AGAIN_S)
        log.info("%s: ends", self.teller.who)

    def look(self, frame: int, answer: Answer) -> None:
        picture = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_COLOR) if answer.body else None
        if picture is None:
            self.teller.tell("a picture that cannot be decoded is passed over")
            return
        self.teller.fine()
        # The camera's time, not ours: a look that comes late is of the same moment.
        now = datetime.fromisoformat(answer.headers["X-Frame-Captured-At"]).timestamp()
        here, ended = self.tracker.follow(self.eye.look(picture), now)
        for track in here:
            if not track.told:
                log.info("%s: %s came, confidence %.2f", self.teller.who, track.name, track.confidence)
                # It was there before it was known what it is: a line may have been crossed in between.
                for earlier, box in track.before:
                    self.post(earlier, [(track, box)])
            track.told, track.before = True, []
        if here:
            self.post(frame, [(track, track.box) for track in here])
        for track in self.tracker.tracks:
            if not track.told and track.seen == now:
                track.before = [*track.before, (frame, track.box)][-BEFORE_MAX:]
        for track in ended:
            if track.told:
                log.info("%s: %s went, after %.1f s", self.teller.who, track.name, track.seen - track.since)

    def post(self, frame: int, found: list[tuple[Track, Box]]) -> None:
        """Posts once more what was not taken: the same frame twice is kept once."""
        body = {
            "lease": self.worker.lease,
            "camera_id": self.task["camera_id"],
            "task_id": self.task["id"],
            "frame": frame,
            "detections": [
                {
                    "label": self.eye.label,
                    "confidence": round(track.confidence, 3),
                    "box": [box.x, box.y, box.w, box.h],
                    "track_id": track.name,
                }
                for track, box in found
            ],
        }
        for _ in range(TRIES):
            if self.ends.is_set():
                return
            try:
                answer = self.service.ask("POST", "/api/v1/ai/detections", body)
            except OSError:
                self.ends.wait(AGAIN_S)
                continue
            if answer.status not in (429, 503):
                if answer.status == 409:
                    self.worker.wake.set()  # not_leased: lease anew, at once
                if answer.status != 200:
                    log.warning("%s: frame %d is not taken: %s", self.teller.who, frame, answer.why())
                return
            self.ends.wait(answer.wait_s())
        log.warning("%s: frame %d is not taken after %d tries", self.teller.who, frame, TRIES)


class Worker:
    """Leases tasks, keeps the lease, and has a thread for each task."""

    def __init__(self, service: Service, name: str, types: list[str], most: int) -> None:
        self.service, self.asked = service, {"worker": name, "types": types, "max_tasks": most, "ttl_seconds": TTL_S}
        self.lease, self.works = "", dict[int, Work]()
        self.wake, self.ends = threading.Event(), False
        self.teller = Teller(name)

    def stop(self, *_: object) -> None:
        self.ends = True
        self.wake.set()

    def run(self) -> None:
        while not self.ends:
            self.wake.wait(self.renew())
            self.wake.clear()
        for work in self.works.values():
            work.ends.set()
        try:
            self.service.ask("DELETE", f"/api/v1/ai/leases/{self.lease}")  # others get the tasks at once
            log.info("%s: the lease is given back", self.teller.who)
        except OSError as error:
            log.warning("%s: the lease ends by itself, the service is away: %s", self.teller.who, error)

    def renew(self) -> float:
        """Leases, or renews the lease. Seconds until the next time."""
        asked = {**self.asked, "lease": self.lease} if self.lease else self.asked
        try:
            answer = self.service.ask("POST", "/api/v1/ai/leases", asked)
        except OSError as error:
            self.teller.tell(f"the service is away: {error}")
            return AGAIN_S
        if answer.status != 200:
            self.teller.tell(f"no lease: {answer.why()}")
            return answer.wait_s()
        self.teller.fine()
        leased = answer.json()
        if leased["lease"] != self.lease:
            log.info("%s: has a lease of %d tasks", self.teller.who, len(leased["tasks"]))
        self.lease = leased["lease"]
        # What samples for a task changes all the time; the rest is the task.
        tasks = {task["id"]: {**task, "sampler": None} for task in leased["tasks"]}
        for id, work in list(self.works.items()):
            if tasks.get(id) != work.task or not work.is_alive():
                work.ends.set()
                del self.works[id]
        for id in tasks.keys() - self.works.keys():
            self.works[id] = Work(self, tasks[id])
            self.works[id].start()
        return TTL_S / 3


def main() -> None:
    parser = argparse.ArgumentParser(description="Looks at the pictures of Watchkeeper's AI tasks and posts what it finds.")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="of the service [%(default)s]")
    parser.add_argument("--name", default=f"{socket.gethostname()}-{os.getpid()}", help="no other worker may have it")
    parser.add_argument("--types", default=",".join(EYES), help="of tasks, with commas between [%(default)s]")
    parser.add_argument("--max-tasks", type=int, default=4, help="no more at once [%(default)s]")
    options = parser.parse_args()
    types = options.types.split(",")
    if unknown := set(types) - set(EYES):
        parser.error(f"no such types: {', '.join(sorted(unknown))}; there are {', '.join(EYES)}")
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    cv2.setNumThreads(1)  # one thread for each task is enough
    worker = Worker(Service(options.url), options.name, types, options.max_tasks)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, worker.stop)
    worker.run()
    # Threads that wait for a picture would wait on, and OpenCV aborts in one that Python ends under it.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    main()
