using System.Buffers.Binary;
using System.Globalization;
using System.Text;
using Qcow2Bitmaps.Format;

namespace Qcow2Bitmaps.Images.Header;

/// <summary>The meaning of a first cluster, independent of where its parts are; as hexadecimal text, so that two can be compared.</summary>
/// <param name="Fields">The header, without the offset of the backing file name and without unknown autoclear bits.</param>
/// <param name="BackingFile">The backing file's name; empty without one.</param>
/// <param name="BackingFormat">The value of the last format extension.</param>
/// <param name="Bitmaps">The value of the bitmaps extension; empty if the image has no bitmaps, because the autoclear bit is off.</param>
/// <param name="Others">All other extensions in their order.</param>
internal sealed record HeaderView(string Fields, string BackingFile, string BackingFormat, string Bitmaps, string Others)
{
    private const string Missing = "none";

    /// <summary>Reads a first cluster.</summary>
    /// <returns>Its meaning; null if the extensions cannot be read.</returns>
    public static HeaderView? Of(ReadOnlySpan<byte> cluster, Qcow2Header header)
    {
        var area = new ExtensionArea(cluster, header);
        if (area.Fault is not null)
        {
            return null;
        }

        byte[] fields = cluster[area.Header].ToArray();
        fields.AsSpan(HeaderLayout.BackingFileOffset..HeaderLayout.ClusterBits).Clear();
        string bitmaps = "";
        if (header.Version >= 3)
        {
            Span<byte> autoclear = fields.AsSpan(HeaderLayout.AutoclearFeatures);
            var bits = (AutoclearFeatures)BinaryPrimitives.ReadUInt64BigEndian(autoclear);
            bitmaps = bits.HasFlag(AutoclearFeatures.Bitmaps) ? Missing : "";
            BinaryPrimitives.WriteUInt64BigEndian(autoclear, (ulong)(bits & AutoclearFeatures.RawExternalData));
        }

        string format = "";
        var others = new StringBuilder();
        foreach ((HeaderExtensionType type, int dataOffset, int length) in area.Extensions)
        {
            string data = Convert.ToHexString(cluster.Slice(dataOffset, length));
            switch (type)
            {
                case ExtensionArea.Filler:
                    break;
                case HeaderExtensionType.Bitmaps:
                    bitmaps = bitmaps.Length > 0 && length == BitmapsExtension.SizeBytes ? data : bitmaps;
                    break;
                case HeaderExtensionType.BackingFormat:
                    format = data;
                    break;
                default:
                    others.Append(CultureInfo.InvariantCulture, $"{type:x}:{data} ");
                    break;
            }
        }

        string name = Convert.ToHexString(cluster[area.NameStart..area.NameEnd]);
        return new HeaderView(Convert.ToHexString(fields), name, format, bitmaps, others.ToString());
    }

    /// <summary>Whether two clusters mean the same to all readers: without a backing file, its format is ignored.</summary>
    public bool Reads(HeaderView? other) =>
        other is not null && this == (BackingFile.Length == 0 ? other with { BackingFormat = BackingFormat } : other);
}
