import assert from "node:assert/strict";
import { test } from "node:test";

import { readDate, readTime, writeDate, writeTime } from "../src/lib/time/typed.ts";

const TODAY = "2030-05-15"; // a Wednesday
const clock = (text: string, locale = "en-GB"): string | null => {
  const minute = readTime(text, locale);
  return minute === null
    ? null
    : `${String(Math.floor(minute / 60)).padStart(2, "0")}:${String(minute % 60).padStart(2, "0")}`;
};

test("a time can be typed in every usual way", () => {
  const said: Record<string, string> = {
    "9:30": "09:30",
    "930": "09:30",
    "0930": "09:30",
    "9.30": "09:30",
    "9h30": "09:30",
    "9": "09:00",
    "14h": "14:00",
    "1430": "14:30",
    "2pm": "14:00",
    "2 PM": "14:00",
    "2:30p": "14:30",
    "2:30 p.m.": "14:30",
    "12am": "00:00",
    "12pm": "12:00",
    "12:15 a.m.": "00:15",
    noon: "12:00",
    midnight: "00:00",
    "14.30 uhr": "14:30",
  };
  for (const [text, expected] of Object.entries(said)) assert.equal(clock(text), expected, text);
});

test("what is no time is not guessed at", () => {
  for (const text of ["", "25:00", "9:75", "14pm", "soon", "9:3", "12345", "9:30 tomorrow"])
    assert.equal(clock(text), null, text);
});

test("every time that a field shows can be read again, in any locale and on both clocks", () => {
  for (const locale of [
    "en-US",
    "en-GB",
    "de-CH",
    "fr-FR",
    "es-ES",
    "ja-JP",
    "ko-KR",
    "ar-EG",
    "hi-IN",
    "fa-IR",
    "bg-BG",
  ]) {
    for (const hour12 of [false, true]) {
      for (const minute of [0, 5, 570, 720, 725, 810, 1439]) {
        const shown = writeTime(minute, { locale, hour12, zone: "UTC" });
        assert.equal(readTime(shown, locale), minute, `${locale} ${shown}`);
      }
    }
  }
});

test("a date can be typed with a name, with numbers in the locale's order, or as a word", () => {
  const said: [string, string, string][] = [
    ["16 May 2030", "en-GB", "2030-05-16"],
    ["Thu 16 May 2030", "en-GB", "2030-05-16"],
    ["may 16", "en-US", "2030-05-16"],
    ["16/5", "en-GB", "2030-05-16"],
    ["5/16", "en-US", "2030-05-16"],
    ["16.5.", "de-CH", "2030-05-16"],
    ["16.5.31", "de-CH", "2031-05-16"],
    ["2030-05-16", "en-US", "2030-05-16"],
    ["2030/5/16", "ja-JP", "2030-05-16"],
    ["1 January", "en-GB", "2031-01-01"],
    ["24 dec", "en-GB", "2030-12-24"],
    ["today", "en-GB", TODAY],
    ["tomorrow", "de-DE", "2030-05-16"],
    ["morgen", "de-DE", "2030-05-16"],
    ["friday", "en-GB", "2030-05-17"],
    ["mi", "de-DE", TODAY],
  ];
  for (const [text, locale, expected] of said) assert.equal(readDate(text, locale, TODAY), expected, text);
});

test("without a year the next such day is meant, or one that was a short while ago", () => {
  assert.equal(readDate("2 January", "en-GB", "2030-12-20"), "2031-01-02");
  assert.equal(readDate("20 December", "en-GB", "2030-01-02"), "2029-12-20");
});

test("what is no date is not guessed at", () => {
  for (const text of [
    "",
    "31 February 2030",
    "16/13/2030",
    "soon",
    "16",
    "1 2 3 4",
    "16 May 1830",
    "2030-02-30",
  ])
    assert.equal(readDate(text, "en-GB", TODAY), null, text);
});

test("every day that a field shows can be read again, in any locale", () => {
  for (const locale of [
    "en-US",
    "en-GB",
    "de-CH",
    "fr-FR",
    "es-ES",
    "ru-RU",
    "pl-PL",
    "cs-CZ",
    "ja-JP",
    "ko-KR",
    "zh-CN",
    "ar-EG",
    "hi-IN",
    "fa-IR",
    "th-TH",
    "hu-HU",
  ]) {
    for (const day of ["2030-01-31", "2030-05-16", "2031-08-02", "2030-12-01"]) {
      const shown = writeDate(day, locale);
      assert.equal(readDate(shown, locale, TODAY), day, `${locale} ${shown}`);
    }
  }
});
