/** The client of invitations: a module of its own, because only their dialog needs it. */
import { createClient } from "@connectrpc/connect";

import { InvitationService } from "../../gen/appointments/v1/invitations_pb.js";
import { faulting, transport } from "./api.ts";

export const invitationService = faulting(createClient(InvitationService, transport));
