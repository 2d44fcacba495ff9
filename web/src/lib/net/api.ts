/** The services over gRPC-Web: cookies sent along, the session renewed when needed, failures as Faults. */
import { Code, ConnectError, createClient, type Interceptor } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

import { AccountService } from "../../gen/appointments/v1/account_pb.js";
import { AppointmentService } from "../../gen/appointments/v1/appointments_pb.js";
import { faultOf } from "./faults.ts";
import { refreshOnce, refreshCount, hasSession } from "./refresh.ts";
import { traceparent } from "./trace.ts";

/** The position of the last write of any tab, and when it was: what is read in the next minute must not be older. */
const READ_AFTER = "appointments.read-after";
/** Replicas are not read that are ten seconds behind. A position of before a restore must not be brought for good. */
const REMEMBERED = 60_000;

function positionToBring(): string {
  const [position = "", written] = (localStorage.getItem(READ_AFTER) ?? "").split(" ");
  return Date.now() - Number(written) < REMEMBERED ? position : "";
}

const OPTIONS = {
  baseUrl: location.origin,
  defaultTimeoutMs: 20_000,
  fetch: (input: RequestInfo | URL, init?: RequestInit) => fetch(input, { ...init, credentials: "include" }),
};

const unauthenticated = (error: unknown): boolean =>
  error instanceof ConnectError && error.code === Code.Unauthenticated;

/** A call that finds the session expired renews it, once for all tabs, and is repeated once. */
const refreshing: Interceptor = (next) => async (request) => {
  const seen = refreshCount();
  const known = hasSession();
  try {
    return await next(request);
  } catch (error) {
    if (!known || !unauthenticated(error)) throw error;
    await refreshOnce(seen, stillSignedIn);
    return await next(request);
  }
};

/** Each call says which click it belongs to, and what it must not miss if a replica answers it. */
const telling: Interceptor = (next) => async (request) => {
  request.header.set("traceparent", traceparent());
  const position = positionToBring();
  if (position) request.header.set("x-read-after", position);
  const response = await next(request);
  const written = response.trailer.get("x-read-after");
  if (written) localStorage.setItem(READ_AFTER, `${written} ${Date.now()}`);
  return response;
};

const bare = createClient(AccountService, createGrpcWebTransport(OPTIONS));

async function stillSignedIn(): Promise<boolean> {
  try {
    await bare.getCurrentUser({});
    return true;
  } catch (error) {
    if (unauthenticated(error)) return false;
    throw error;
  }
}

export const transport = createGrpcWebTransport({ ...OPTIONS, interceptors: [refreshing, telling] });

/** The same client, whose calls fail with Faults. An interceptor cannot do it: the library wraps what one throws. */
export function faulting<T extends object>(client: T): T {
  return new Proxy(client, {
    get: (target, name) => {
      const call = Reflect.get(target, name) as (...parameters: unknown[]) => Promise<unknown>;
      return (...parameters: unknown[]) =>
        call(...parameters).catch((error: unknown) => {
          throw faultOf(error);
        });
    },
  });
}

export const accountService = faulting(createClient(AccountService, transport));
export const appointmentService = faulting(createClient(AppointmentService, transport));
