import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

import { ConflictInfoSchema } from "../src/gen/appointments/v1/appointments_pb.js";
import { BadRequestSchema, RetryInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { Fault, faultOf, faultOfResponse, retryable } from "../src/lib/net/faults.ts";
import { untilAnswered } from "../src/lib/net/retry.ts";

test("a conflict has its collisions", () => {
  const info = create(ConflictInfoSchema, {
    appointments: [{ id: "7", startTime: { seconds: 10n }, endTime: { seconds: 20n } }],
  });
  const error = new ConnectError("taken", Code.AlreadyExists, undefined, [
    { desc: ConflictInfoSchema, value: info },
  ]);
  const fault = faultOf(error);
  assert.equal(fault.kind, "conflict");
  assert.deepEqual(fault.collisions, [{ id: "7", start: 10_000, end: 20_000 }]);
});

test("bad fields and delays are read from the details", () => {
  const bad = create(BadRequestSchema, {
    fieldViolations: [{ field: "appointment.title", description: "Empty." }],
  });
  const retry = create(RetryInfoSchema, { retryDelay: { seconds: 1n, nanos: 500_000_000 } });
  const details = [
    { desc: BadRequestSchema, value: bad },
    { desc: RetryInfoSchema, value: retry },
  ];
  const fault = faultOf(new ConnectError("x", Code.ResourceExhausted, undefined, details));
  assert.equal(fault.kind, "throttled");
  assert.equal(fault.retryAfter, 1.5);
  assert.deepEqual(
    fault.fields.map(({ field }) => field),
    ["appointment.title"],
  );
});

test("no answer is told apart from a refusal", () => {
  const silence = new ConnectError("Failed to fetch", Code.Unknown, undefined, undefined, new TypeError("x"));
  assert.ok(retryable(faultOf(silence)));
  assert.ok(retryable(faultOf(new ConnectError("draining", Code.Unavailable))));
  assert.ok(!retryable(faultOf(new ConnectError("no", Code.InvalidArgument))));
  assert.ok(!retryable(faultOf(new ConnectError("too large", Code.ResourceExhausted))));
  assert.equal(faultOf(new ConnectError("over", Code.Unauthenticated)).kind, "signedOut");
});

test("a problem of REST is a fault", async () => {
  const problem = {
    title: "Bad Request",
    detail: "two faults",
    errors: [{ field: "email", description: "Not one." }],
  };
  const fault = await faultOfResponse(new Response(JSON.stringify(problem), { status: 400 }));
  assert.equal(fault.kind, "invalid");
  assert.equal(fault.message, "Two faults.");
  assert.deepEqual(fault.fields, problem.errors);
  const throttled = await faultOfResponse(new Response("", { status: 429, headers: { "retry-after": "2" } }));
  assert.equal(throttled.retryAfter, 2);
});

test("silence is waited out, and a refusal is thrown at once", async () => {
  Object.assign(globalThis, { addEventListener: () => {}, removeEventListener: () => {} });
  const tries: boolean[] = [];
  const answer = await untilAnswered(async (again) => {
    tries.push(again);
    if (tries.length < 2) throw new Fault("unreachable", "");
    return "yes";
  });
  assert.equal(answer, "yes");
  assert.deepEqual(tries, [false, true]);
  await assert.rejects(
    untilAnswered(() => Promise.reject(new Fault("invalid", "no"))),
    /no/,
  );
});
