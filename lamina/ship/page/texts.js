// Texts as tokens, as lamina/data/_tokens.py and _ragged.py make them: 1 unknown, 2 start, 3 between two texts, then the vocabulary.
const spelling = (tokens, word) => {
  const codes = new Map(tokens.vocabulary.map((name, i) => [name, i + 4])), code = (name) => codes.get(name) ?? 1;
  const made = {
    words: (text) => ((tokens.lower ? text.toLowerCase() : text).match(new RegExp(word, "gu")) || []).filter((w) => !/^[\x1c-\x1f\x85]$/.test(w)).map(code),
    characters: (text) => [...text].map(code),
    bytes: (text) => [...new TextEncoder().encode(text)].map((byte) => byte + 4),
  };
  return made[tokens.kind];
};
// texts: one per column; fields: [{tokens, shape: [longest]}]
const tokensOf = (texts, fields, word) => {
  const ids = [];
  texts.forEach((text, i) => { ids.push(i ? 3 : 2); for (const id of spelling(fields[i].tokens, word)(text).slice(0, fields[i].shape[0])) ids.push(id); });
  return ids;
};
