/** What happened to the account: GET /auth/audit. */
import { accountService } from "./api.ts";
import { faultOfResponse, unreachable } from "./faults.ts";

export interface Happening {
  readonly time: string;
  readonly event: string;
  readonly by: "you" | "admin" | "operator" | "nobody signed in";
  readonly address: string;
  readonly user_agent: string;
  readonly request_id: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

export interface HistoryPage {
  readonly events: readonly Happening[];
  readonly next_page_token: string;
}

/** A page of it, the latest first. */
export async function historyPage(token: string): Promise<HistoryPage> {
  const ask = () => fetch(`/auth/audit?page_size=20&page_token=${encodeURIComponent(token)}`);
  try {
    let response = await ask();
    if (response.status === 401) {
      await accountService.getCurrentUser({}); // renews the session, if it can be
      response = await ask();
    }
    if (!response.ok) throw await faultOfResponse(response);
    return (await response.json()) as HistoryPage;
  } catch (error) {
    if (error instanceof TypeError) throw unreachable();
    throw error;
  }
}
