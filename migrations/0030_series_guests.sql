-- Occurrences of series are in the calendars of those who are invited to them, as single appointments are (docs/adr/0025).
--
-- Nobody writes appointments for a moment, while the triggers are replaced.

-- Moving an occurrence to another series, or parking it, is not a change that anybody is told of: its version stays.
CREATE OR REPLACE TRIGGER appointments_invite_new AFTER INSERT ON appointments FOR EACH ROW
    WHEN (NEW.attendees <> '[]') EXECUTE FUNCTION appointments_invite();
CREATE OR REPLACE TRIGGER appointments_invite_again AFTER UPDATE ON appointments FOR EACH ROW
    WHEN ((OLD.attendees <> '[]' OR NEW.attendees <> '[]') AND OLD.version <> NEW.version)
    EXECUTE FUNCTION appointments_invite();
