// Every way in which a call can go, for any client that has `unary` and `stream`.
// A case returns when all is well and throws what is wrong. `incremental`: the client shows a stream while it runs.
import { equal, fails, statusOf } from "./expect.mjs";

const code = { cancelled: 1, unknown: 2, deadline: 4, notFound: 5, exhausted: 8, aborted: 10, unimplemented: 12 };
const message = 'nothing of "that": 100% sure, größer, 約束';

async function collect(client, request, given) {
  const received = [];
  const seen = await client.stream("serverStream", request, (each) => received.push(each), given);
  return { received, ...seen };
}

async function failsAfter(client, request, expected) {
  const received = [];
  const error = await fails(expected, client.stream("serverStream", request, (each) => received.push(each)));
  return { received, error };
}

// What becomes of a call, and after how many milliseconds: it has to be "cancelled".
async function cancelledWithin(client, key, limit) {
  const began = Date.now();
  for (;;) {
    const { message: answer } = await client.unary("witness", { key });
    if (answer.state === "cancelled") return;
    if (Date.now() - began > limit) throw new Error(`after ${limit} ms the handler is "${answer.state}"`);
    await new Promise((wake) => setTimeout(wake, 20));
  }
}

async function running(client, key) {
  while ((await client.unary("witness", { key })).message.state !== "running") {
    await new Promise((wake) => setTimeout(wake, 20));
  }
}

function checkDetails(error) {
  const status = statusOf(error);
  equal([code.notFound, message, 1], [status.code, status.message, status.details.length], "the details");
}

const echoed = { "x-echo": "some text", "x-echo-bin": "AAEC/w" };
// Milliseconds from a client's decision to go until its handler has stopped. The server's part is a second at most, as
// the tests on the wire say. Chromium's may be five: a fetch that is aborted between two reads of its body is read on, for
// so long or 16 KiB, so that the connection can be used again.
const inTime = 10_000;

export const cases = {
  async "an echo"(client) {
    const { message: answer } = await client.unary("unary", { text: "Grüße, 約束", data: new Uint8Array([0, 255]) });
    equal(["Grüße, 約束", [0, 255]], [answer.text, [...answer.data]], "the answer");
  },
  async "an empty message"(client) {
    equal("", (await client.unary("unary", {})).message.text, "the answer");
  },
  async "a large message"(client) {
    const data = new Uint8Array(1_000_000).fill(7);
    equal(data.length, (await client.unary("unary", { data })).message.data.length, "its length");
  },
  async "twenty calls at once"(client) {
    const calls = Array.from({ length: 20 }, (_, index) => client.unary("unary", { text: `${index}`, pauseMs: 20 }));
    equal(Array.from(calls, (_, index) => `${index}`), (await Promise.all(calls)).map((each) => each.message.text), "all");
  },
  async "metadata, both ways"(client) {
    const { headers, trailers } = await client.unary("unary", { echoMetadata: true }, { metadata: echoed });
    equal("some text", headers["x-echo"], "initial");
    equal("AAEC/w", headers["x-echo-bin"], "initial, binary");
    equal("some text", trailers["x-trailing-x-echo"], "trailing");
    equal("AAEC/w", trailers["x-trailing-x-echo-bin"], "trailing, binary");
  },
  async "metadata of a stream, both ways"(client) {
    const { headers, trailers } = await collect(client, { count: 1, echoMetadata: true }, { metadata: echoed });
    equal("AAEC/w", headers["x-echo-bin"], "initial, binary");
    equal("some text", trailers["x-trailing-x-echo"], "trailing");
  },
  async "an error"(client) {
    const error = await fails(code.notFound, client.unary("unary", { failure: { code: code.notFound, message } }));
    equal(message, error.message, "the message");
  },
  async "an error whose message is plain ASCII, in a client that does not decode it"(client) {
    const plain = 'title: "a b" is <too> short; 1-200 characters, please + ~{}';
    const error = await fails(code.notFound, client.unary("unary", { failure: { code: code.notFound, message: plain } }));
    equal(plain, error.shown, "the message");
  },
  async "an error without a message"(client) {
    await fails(code.aborted, client.unary("unary", { failure: { code: code.aborted } }));
  },
  async "an error with details"(client) {
    const failure = { code: code.notFound, message, details: true };
    checkDetails(await fails(code.notFound, client.unary("unary", { failure })));
  },
  async "an error with initial and trailing metadata"(client) {
    const failure = { code: code.notFound, message };
    const call = client.unary("unary", { echoMetadata: true, failure }, { metadata: echoed });
    const error = await fails(code.notFound, call);
    equal("some text", error.metadata["x-trailing-x-echo"], "trailing");
  },
  async "an exception"(client) {
    const error = await fails(code.unknown, client.unary("unary", { failure: { message: "a secret" } }));
    if (error.message.includes("secret")) throw new Error("it tells what nobody should know");
  },
  async "a method that is not implemented"(client) {
    await fails(code.unimplemented, client.unary("missing", {}));
  },
  async "a message over the limit, then another call"(client) {
    await fails(code.exhausted, client.unary("unary", { data: new Uint8Array(5_000_000) }));
    equal("still here", (await client.unary("unary", { text: "still here" })).message.text, "the next answer");
  },
  async "a deadline"(client) {
    const key = crypto.randomUUID();
    await fails(code.deadline, client.unary("unary", { key, pauseMs: 60_000 }, { timeoutMs: 1000 }));
    await cancelledWithin(client, key, inTime);
  },
  async "a deadline that is kept"(client) {
    const { message: answer } = await client.unary("unary", {}, { timeoutMs: 30_000 });
    if (!(answer.timeRemaining > 1 && answer.timeRemaining <= 30)) throw new Error(`${answer.timeRemaining} s remain`);
  },
  async "a call that is cancelled"(client) {
    const [key, abort] = [crypto.randomUUID(), new AbortController()];
    const call = fails(code.cancelled, client.unary("unary", { key, pauseMs: 60_000 }, { signal: abort.signal }));
    await running(client, key);
    abort.abort();
    await call;
    await cancelledWithin(client, key, inTime);
  },
  async "a stream"(client) {
    const { received } = await collect(client, { text: "x", count: 5 });
    equal([0, 1, 2, 3, 4], received.map((each) => each.index), "its messages");
  },
  async "a long stream"(client) {
    const { received } = await collect(client, { data: new Uint8Array(1000), count: 500 });
    equal([500, 499], [received.length, received.at(-1).index], "its messages");
  },
  async "an empty stream"(client) {
    equal([], (await collect(client, { count: 0 })).received, "its messages");
  },
  async "a stream with an error before the first message"(client) {
    const failure = { code: code.notFound, message, details: true };
    const { received, error } = await failsAfter(client, { failure }, code.notFound);
    equal([[], message], [received, error.message], "messages and message");
    checkDetails(error);
  },
  async "a stream with an error after the third message"(client) {
    const failure = { code: code.notFound, message, details: true };
    const { received, error } = await failsAfter(client, { count: 3, failure }, code.notFound);
    equal([3, message], [received.length, error.message], "messages and message");
    checkDetails(error);
  },
  async "a stream with an exception after the third message"(client) {
    equal(3, (await failsAfter(client, { count: 3, failure: {} }, code.unknown)).received.length, "messages");
  },
  async "a slow stream"(client, { incremental }) {
    const times = [];
    await client.stream("serverStream", { count: 3, pauseMs: 400 }, () => times.push(Date.now()));
    equal(3, times.length, "messages");
    if (incremental && times[2] - times[0] < 200) throw new Error(`they came together: ${times}`);
  },
  async "a stream whose deadline passes"(client) {
    const key = crypto.randomUUID();
    const request = { key, count: -1, pauseMs: 50 };
    await fails(code.deadline, client.stream("serverStream", request, () => {}, { timeoutMs: 1000 }));
    await cancelledWithin(client, key, inTime);
  },
  async "a stream that is cancelled"(client) {
    const [key, abort] = [crypto.randomUUID(), new AbortController()];
    const request = { key, count: -1, pauseMs: 20 };
    const call = fails(code.cancelled, client.stream("serverStream", request, () => {}, { signal: abort.signal }));
    await running(client, key);
    abort.abort();
    await call;
    await cancelledWithin(client, key, inTime);
  },
  async "a silent stream that is cancelled"(client) {
    const [key, abort] = [crypto.randomUUID(), new AbortController()];
    const request = { key, count: -1, pauseMs: 60_000 };
    const call = fails(code.cancelled, client.stream("serverStream", request, () => {}, { signal: abort.signal }));
    await running(client, key);
    abort.abort();
    await call;
    await cancelledWithin(client, key, inTime);
  },
};
