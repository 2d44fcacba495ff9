/** The rooms and equipment that the person may see, and when they are taken. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { durationFromMs, durationMs } from "@bufbuild/protobuf/wkt";

import {
  ResourceKind,
  ResourceRole,
  ResourceSchema,
  type Resource as ResourceMessage,
  type ResourceAccess,
} from "../../gen/appointments/v1/resources_pb.js";
import { Fault } from "../net/faults.ts";
import { resourceService } from "../net/resources.ts";
import { uuid } from "../net/uuid.ts";
import { overlap, type Span } from "../time/spans.ts";
import { HOUR } from "../time/zones.ts";
import type { Booked } from "./appointment.ts";
import type { Opened } from "./hours.ts";
import { full, occupied, withRoom, type Capacity } from "./occupancy.ts";
import { rulesOf, toRules, type Rules } from "./rules.ts";
import type { HoursInit } from "./openings.ts";
import { list } from "./store.svelte.ts";

export { ResourceKind, ResourceRole, type ResourceAccess };

const PAGE_SIZE = 1000;
/** No buffer is longer than a day, and an appointment and a resource have one each. */
const LONGEST_BUFFERS = 48 * HOUR;

/** What a person can type. */
export interface ResourceSpec extends Capacity {
  readonly kind: ResourceKind;
  readonly name: string;
  readonly timeZone: string;
  readonly seats: number;
  readonly description: string;
  readonly location: string;
  readonly defaultRole: ResourceRole;
}

export interface Resource extends ResourceSpec {
  readonly id: string;
  readonly etag: string;
  readonly role: ResourceRole;
  /** When it is open, on the clock of its zone. */
  readonly hours: Opened | undefined;
  readonly rules: Rules;
}

function fromMessage(message: ResourceMessage): Resource {
  const { id, etag, role, kind, displayName, timeZone, seats, description, location, defaultRole } = message;
  return {
    ...{ id, etag, role, kind, timeZone, seats, description, location, defaultRole },
    name: displayName,
    hours: message.hours,
    rules: rulesOf(message.bookingRules),
    units: message.units || 1,
    bufferBefore: message.bufferBefore ? durationMs(message.bufferBefore) : 0,
    bufferAfter: message.bufferAfter ? durationMs(message.bufferAfter) : 0,
  };
}

function toMessage(spec: ResourceSpec, id = "", etag = ""): ResourceMessage {
  const {
    name,
    bufferBefore,
    bufferAfter,
    kind,
    timeZone,
    seats,
    units,
    description,
    location,
    defaultRole,
  } = spec;
  return create(ResourceSchema, {
    ...{ id, etag, kind, timeZone, seats, units, description, location, defaultRole, displayName: name },
    bufferBefore: durationFromMs(bufferBefore),
    bufferAfter: durationFromMs(bufferAfter),
  });
}

const FIELDS = [
  "kind",
  "display_name",
  "time_zone",
  "seats",
  "units",
  "description",
  "location",
  "default_role",
  "buffer_before",
  "buffer_after",
];

function answered(resource: ResourceMessage | undefined): Resource {
  if (!resource) throw new Fault("other", "The server sent no resource.");
  return fromMessage(resource);
}

export const canBook = ({ role }: Resource): boolean => role >= ResourceRole.BOOKER;
export const canManage = ({ role }: Resource): boolean => role >= ResourceRole.MANAGER;

class Resources {
  /** By name; undefined until the server has told them. */
  all = $state.raw<readonly Resource[] | undefined>();

  #loads = 0;

  /** Ask the server for all of them. Of several questions the answer to the last one stays. */
  async load(): Promise<readonly Resource[]> {
    const now = ++this.#loads;
    const found: Resource[] = [];
    let pageToken = "";
    do {
      const page = await resourceService.listResources({ pageSize: PAGE_SIZE, pageToken });
      found.push(...page.resources.map(fromMessage));
      pageToken = page.nextPageToken;
    } while (pageToken);
    if (now === this.#loads) this.all = found;
    return found;
  }

  find(id: string): Resource | undefined {
    return this.all?.find((resource) => resource.id === id);
  }

  /** The names of some. */
  async names(ids: readonly string[]): Promise<string[]> {
    if (ids.some((id) => !this.find(id))) await this.load().catch(() => {});
    return ids.map((id) => this.find(id)?.name ?? "A resource you can’t see");
  }

  /** What takes a resource in a window: appointments that the person may see, and times of others. */
  bookings({ id }: Resource, window: Span): Promise<Booked[]> {
    return list(window, id);
  }

  /** The times of a window at which an appointment could not have the resource, apart from one that is being changed. */
  async blocked(resource: Resource, window: Span, besides = ""): Promise<Span[]> {
    const wider = { start: window.start - LONGEST_BUFFERS, end: window.end + LONGEST_BUFFERS };
    const bookings = (await this.bookings(resource, wider)).filter(({ id }) => id === "" || id !== besides);
    const spans = bookings.map((booked) => occupied(booked, resource));
    return withRoom(full(spans, resource.units), resource);
  }

  /** Whether an appointment that takes this time could have the resource. */
  async isFree(resource: Resource, wanted: Span, besides = ""): Promise<boolean> {
    return !(await this.blocked(resource, wanted, besides)).some((span) => overlap(span, wanted));
  }

  async create(spec: ResourceSpec): Promise<Resource> {
    const { resource } = await resourceService.createResource({
      resource: toMessage(spec),
      requestId: uuid(),
    });
    return this.#learn(answered(resource));
  }

  async change(current: Resource, spec: ResourceSpec): Promise<Resource> {
    const request = { resource: toMessage(spec, current.id, current.etag), updateMask: { paths: FIELDS } };
    return this.#learn(answered((await resourceService.updateResource(request)).resource));
  }

  /** When it can be booked. */
  async open({ id, etag }: Resource, hours: HoursInit): Promise<Resource> {
    return this.#update({ id, etag, hours }, ["hours"]);
  }

  /** What is asked of whoever books it. */
  async rule({ id, etag }: Resource, rules: Rules): Promise<Resource> {
    return this.#update({ id, etag, bookingRules: toRules(rules) }, ["booking_rules"]);
  }

  async #update(resource: MessageInitShape<typeof ResourceSchema>, paths: string[]): Promise<Resource> {
    return this.#learn(
      answered((await resourceService.updateResource({ resource, updateMask: { paths } })).resource),
    );
  }

  /** With `force` it is taken from the appointments that have it. */
  async remove({ id, etag }: Resource, force: boolean): Promise<void> {
    await resourceService.deleteResource({ id, etag, force });
    this.all = this.all?.filter((resource) => resource.id !== id);
  }

  async restore(id: string): Promise<Resource> {
    return this.#learn(answered((await resourceService.undeleteResource({ id })).resource));
  }

  async access(id: string): Promise<ResourceAccess[]> {
    const all: ResourceAccess[] = [];
    let pageToken = "";
    do {
      const answer = await resourceService.listResourceAccess({ id, pageToken });
      all.push(...answer.access);
      pageToken = answer.nextPageToken;
    } while (pageToken !== "");
    return all;
  }

  async grant(id: string, email: string, role: ResourceRole): Promise<void> {
    await resourceService.setResourceAccess({ id, email, role });
  }

  #learn(resource: Resource): Resource {
    const others = (this.all ?? []).filter(({ id }) => id !== resource.id);
    this.all = [...others, resource].sort((a, b) => a.name.localeCompare(b.name));
    return resource;
  }
}

export const resources = new Resources();
