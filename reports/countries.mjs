// Makes components/countries.json, the outlines of the map, from Natural Earth's (public domain), as world-atlas packs them:
//   npm install --no-save world-atlas@2 topojson-client@3 d3-geo@3 i18n-iso-countries@7 && node countries.mjs
import fs from 'fs';
import { feature } from 'topojson-client';
import iso from 'i18n-iso-countries';
import { geoNaturalEarth1, geoPath, geoArea } from 'd3-geo';

const [width, height] = [960, 480];
const read = (scale) => {
	const topology = JSON.parse(fs.readFileSync(`node_modules/world-atlas/countries-${scale}.json`));
	return feature(topology, topology.objects.countries).features;
};
const codeOf = ({ id, properties }) => iso.numericToAlpha2(id) ?? { Kosovo: 'XK' }[properties.name];

const coarse = read('110m').filter((each) => codeOf(each) !== 'AQ');
const projection = geoNaturalEarth1().fitExtent([[2, 2], [width - 2, height - 2]], { type: 'FeatureCollection', features: coarse });
const path = geoPath(projection).digits(1);

const shapes = {};
for (const each of coarse) shapes[codeOf(each) ?? each.properties.name] = { d: path(each) };
// what is too small for the coarse outlines is a point where its largest part lies
for (const each of read('50m')) {
	const code = codeOf(each);
	if (!code || shapes[code] || code === 'AQ') continue;
	const [x, y] = path.centroid(each);
	if (Number.isFinite(x)) shapes[code] = { x: Math.round(x * 10) / 10, y: Math.round(y * 10) / 10 };
}
fs.writeFileSync('components/countries.json', JSON.stringify({ width, height, shapes }));
