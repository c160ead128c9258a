// Markdown as elements: headings, lists, quotations, code, emphasis, links. Words go in as text and nothing else, a link
// leads to http, https or mailto only, and nothing is loaded: an image is its link.

import { make } from "./parts.js";

const LONGEST = 200_000;
const LONGEST_MARKED = 2_000;
const DEEPEST = 8;

export function rendered(text) {
  if (text.length > LONGEST) return [make("pre", {}, text)];
  return blocks(text.replace(/\r\n?/g, "\n").split("\n"), 0);
}

function blocks(lines, depth) {
  const found = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const fence = /^\s{0,3}(```+|~~~+)\s*([\w+-]*)/.exec(line);
    const heading = /^\s{0,3}(#{1,6})\s+(\S.*)$/.exec(line);
    if (!line.trim()) {
      at += 1;
    } else if (fence) {
      let end = at + 1;
      while (end < lines.length && !lines[end].trim().startsWith(fence[1])) end += 1;
      found.push(make("pre", {}, make("code", {}, lines.slice(at + 1, end).join("\n"))));
      at = end + 1;
    } else if (heading) {
      // The page has headings of its own: these stand below them.
      found.push(make("p", { class: `md-head md-head-${heading[1].length}` }, ...inline(withoutHashes(heading[2]))));
      at += 1;
    } else if (/^\s{0,3}([-*_])\s*(\1\s*){2,}$/.test(line)) {
      found.push(make("hr"));
      at += 1;
    } else if (/^\s{0,3}>/.test(line) && depth < DEEPEST) {
      let end = at;
      while (end < lines.length && /^\s{0,3}>/.test(lines[end])) end += 1;
      const inner = lines.slice(at, end).map((one) => one.replace(/^\s{0,3}> ?/, ""));
      found.push(make("blockquote", {}, ...blocks(inner, depth + 1)));
      at = end;
    } else if (item(line) && depth < DEEPEST) {
      const ordered = item(line).ordered;
      const list = make(ordered ? "ol" : "ul", ordered ? { start: item(line).number } : {});
      while (at < lines.length && item(lines[at])?.ordered === ordered) {
        const { rest, width } = item(lines[at]);
        const inner = [rest];
        at += 1;
        while (at < lines.length && (lines[at].trim() ? indent(lines[at]) >= width : indent(lines[at + 1] ?? "") >= width)) {
          inner.push(lines[at].slice(width));
          at += 1;
        }
        list.append(make("li", {}, ...(inner.length === 1 ? inline(rest) : blocks(inner, depth + 1))));
      }
      found.push(list);
    } else {
      let end = at + 1;
      while (end < lines.length && lines[end].trim() && !starts(lines[end])) end += 1;
      const words = lines.slice(at, end).flatMap((one, number) => (number ? [make("br"), ...inline(one)] : inline(one)));
      found.push(make("p", {}, ...words));
      at = end;
    }
  }
  return found;
}

// The hashes that close a heading are none of it.
function withoutHashes(words) {
  let end = words.trimEnd().length;
  while (end && words[end - 1] === "#") end -= 1;
  return words.slice(0, end).trimEnd();
}

function starts(line) {
  return /^\s{0,3}(#{1,6}\s|>|```|~~~)/.test(line) || item(line) !== null;
}

function item(line) {
  const found = /^(\s*)([-*+]|(\d{1,9})[.)])\s+(.*)$/.exec(line);
  if (!found || found[1].length > 3) return null;
  return { ordered: found[3] !== undefined, number: found[3], rest: found[4], width: line.length - found[4].length };
}

function indent(line) {
  return line.trim() ? line.length - line.trimStart().length : 0;
}

const MARKS = /(`+)([^`]|[^`][\s\S]*?[^`])\1(?!`)|(\*\*|__)(?=\S)([\s\S]*?\S)\3|([*_])(?=[^\s*_])([^*_\n]*[^\s*_])\5(?!\w)|(!?)\[([^\]\n]*)\]\(([^()\s]*)\)|(https?:\/\/[^\s<>()]*[^\s<>().,;:!?'"])/;

function inline(text) {
  if (text.length > LONGEST_MARKED) return [text]; // each mark that does not end is looked for to the end of the line
  const found = [];
  let rest = text;
  while (rest) {
    const mark = MARKS.exec(rest);
    if (!mark) {
      found.push(rest);
      break;
    }
    if (mark.index) found.push(rest.slice(0, mark.index));
    if (mark[1]) found.push(make("code", {}, mark[2]));
    else if (mark[3]) found.push(make("strong", {}, ...inline(mark[4])));
    else if (mark[5]) found.push(make("em", {}, ...inline(mark[6])));
    else found.push(link(mark[10] ?? mark[9], mark[10] ?? (mark[8] || mark[9]), mark[0]));
    rest = rest.slice(mark.index + mark[0].length);
  }
  return found;
}

function link(target, label, written) {
  if (!/^(https?:\/\/|mailto:)/i.test(target)) return written;
  return make("a", { href: target, rel: "noopener noreferrer", target: "_blank" }, label);
}
