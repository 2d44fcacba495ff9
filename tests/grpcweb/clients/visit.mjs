// One person's visit to the appointment service: signs up over REST, and then calls with nothing but the session's
// cookie, which whoever runs this keeps. Returns when all is well and throws what is wrong.
import { fromBinary } from "@bufbuild/protobuf";
import { AccountService } from "./build/es/appointments/v1/account_pb.js";
import { AppointmentService, ConflictInfoSchema } from "./build/es/appointments/v1/appointments_pb.js";
import { BadRequestSchema, ErrorInfoSchema } from "./build/es/google/rpc/error_details_pb.js";
import { AccountServiceClient } from "./build/ts/appointments/v1/account.client.js";
import { AppointmentServiceClient } from "./build/ts/appointments/v1/appointments.client.js";
import { clients } from "./clients.mjs";
import { equal, fails, statusOf } from "./expect.mjs";

const code = { invalid: 3, notFound: 5, exists: 6, aborted: 10, unauthenticated: 16 };
const ten = 1_900_000_800;
const hour = 3600;

export const appointments = { es: AppointmentService, Ts: AppointmentServiceClient };
const accounts = { es: AccountService, Ts: AccountServiceClient };

const instant = (seconds) => ({ seconds: BigInt(seconds), nanos: 0 });

function plan(start, title = "Größe, 約束") {
  return { title, timeZone: "Europe/Zurich", startTime: instant(start), endTime: instant(start + hour) };
}

function detail(error, schema) {
  const found = statusOf(error).details.filter((each) => each.typeUrl.endsWith(`/${schema.typeName}`));
  equal(1, found.length, `details of type ${schema.typeName}`);
  return fromBinary(schema, found[0].value);
}

async function rest(baseUrl, path, body) {
  const headers = { "content-type": "application/json" };
  const init = { method: "POST", headers, credentials: "include", body: JSON.stringify(body) };
  return (await fetch(`${baseUrl}/auth/${path}`, init)).status;
}

export async function visit(name, baseUrl, account) {
  const client = clients[name].make(baseUrl, appointments);
  const call = async (method, request) => (await client.unary(method, request)).message;
  const listed = async () => (await call("listAppointments", {})).appointments.map((each) => each.id);

  await fails(code.unauthenticated, listed());
  equal(201, await rest(baseUrl, "register", account), "signing up");
  const { user } = (await clients[name].make(baseUrl, accounts).unary("getCurrentUser", {})).message;
  equal(account.email, user.email, "who I am");

  const { appointment: booked } = await call("createAppointment", { appointment: plan(ten) });
  equal(["Größe, 約束", ten, user.id], [booked.title, booked.startTime.seconds, booked.ownerId], "what was booked");
  await collide(call("createAppointment", { appointment: plan(ten + hour / 2) }), booked);
  const bad = await fails(code.invalid, call("createAppointment", { appointment: plan(ten, " ") }));
  equal(["appointment.title"], detail(bad, BadRequestSchema).fieldViolations.map((each) => each.field), "bad fields");
  equal([booked.id], await listed(), "the list");

  const change = { appointment: { id: booked.id, title: "New" }, updateMask: { paths: ["title"] } };
  equal("New", (await call("updateAppointment", change)).appointment.title, "the new title");
  const stale = await fails(code.aborted, call("deleteAppointment", { id: booked.id, etag: booked.etag }));
  equal("STALE_ETAG", detail(stale, ErrorInfoSchema).reason, "why");
  await fails(code.notFound, call("getAppointment", { id: crypto.randomUUID() }));

  const { appointment: deleted } = await call("deleteAppointment", { id: booked.id });
  equal([true, []], [deleted.deleteTime !== undefined, await listed()], "after deletion");
  const { appointment: other } = await call("createAppointment", { appointment: plan(ten) });
  await collide(call("undeleteAppointment", { id: booked.id }), other);
  await call("deleteAppointment", { id: other.id });
  await call("undeleteAppointment", { id: booked.id });
  equal([booked.id], await listed(), "the list at the end");

  equal(204, await rest(baseUrl, "logout"), "signing out");
  await fails(code.unauthenticated, listed());
}

async function collide(call, other) {
  const error = await fails(code.exists, call);
  equal("TIME_CONFLICT", detail(error, ErrorInfoSchema).reason, "why");
  const found = detail(error, ConflictInfoSchema).appointments;
  const seen = found.map(({ id, startTime, endTime }) => [id, startTime.seconds, endTime.seconds]);
  equal([[other.id, other.startTime.seconds, other.endTime.seconds]], seen, "what is in the way");
}

// What becomes of a booking: "booked", or the status that the client sees.
export async function book(name, baseUrl) {
  try {
    await clients[name].make(baseUrl, appointments).unary("createAppointment", { appointment: plan(ten) });
    return "booked";
  } catch (error) {
    return `status ${error.code}`;
  }
}
