/** The client of the resources: a module of its own, because the first load does without it. */
import { createClient } from "@connectrpc/connect";

import { ResourceService } from "../../gen/appointments/v1/resources_pb.js";
import { faulting, transport } from "./api.ts";

export const resourceService = faulting(createClient(ResourceService, transport));
