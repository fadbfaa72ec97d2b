using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Images.State;
using Qcow2Bitmaps.Storage;

namespace Qcow2Bitmaps.Tests.Hostile;

/// <summary>
/// Finds the fields of a valid image's metadata, all but the magic: header, extensions, bitmap directory and tables, snapshot table.
/// </summary>
internal static class MetadataFields
{
    private const int TableEntriesOfABitmap = 3;

    public static async Task<IReadOnlyList<MetadataField>> FindAsync(byte[] bytes, CancellationToken cancellationToken)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(
            MemoryStorage.ReadOnly(bytes), new Qcow2OpenOptions { Strictness = Strictness.Lenient }, cancellationToken: cancellationToken);
        var fields = new List<MetadataField>(Header(image.Header));
        foreach (RawHeaderExtension extension in image.Extensions)
        {
            long start = extension.DataOffset - HeaderExtension.HeaderBytes;
            fields.Add(new MetadataField("extension type", start, 4));
            fields.Add(new MetadataField("extension length", start + 4, 4));
            if (extension.Type == HeaderExtensionType.Bitmaps
                && BitmapsExtension.TryRead(extension.Data.Span, 0, out BitmapsExtension bitmaps, out _))
            {
                fields.Add(new MetadataField("nb_bitmaps", extension.DataOffset, 4));
                fields.Add(new MetadataField("reserved", extension.DataOffset + 4, 4));
                fields.Add(new MetadataField("directory size", extension.DataOffset + 8, 8));
                fields.Add(new MetadataField("directory offset", extension.DataOffset + 16, 8));
                fields.AddRange(
                    Directory(bytes.AsSpan((int)bitmaps.DirectoryOffset, (int)bitmaps.DirectorySizeBytes), (long)bitmaps.DirectoryOffset));
            }
            else if (extension.Type == HeaderExtensionType.CryptoHeader)
            {
                fields.Add(new MetadataField("encryption header offset", extension.DataOffset, 8));
                fields.Add(new MetadataField("encryption header length", extension.DataOffset + 8, 8));
            }
        }

        fields.AddRange(Snapshots(bytes, image.Header));
        return fields;
    }

    private static IEnumerable<MetadataField> Header(Qcow2Header header)
    {
        yield return new MetadataField("version", HeaderLayout.Version, 4);
        yield return new MetadataField("backing_file_offset", HeaderLayout.BackingFileOffset, 8);
        yield return new MetadataField("backing_file_size", HeaderLayout.BackingFileSize, 4);
        yield return new MetadataField("cluster_bits", HeaderLayout.ClusterBits, 4);
        yield return new MetadataField("size", HeaderLayout.VirtualSize, 8);
        yield return new MetadataField("crypt_method", HeaderLayout.CryptMethod, 4);
        yield return new MetadataField("l1_size", HeaderLayout.L1Size, 4);
        yield return new MetadataField("l1_table_offset", HeaderLayout.L1TableOffset, 8);
        yield return new MetadataField("refcount_table_offset", HeaderLayout.RefcountTableOffset, 8);
        yield return new MetadataField("refcount_table_clusters", HeaderLayout.RefcountTableClusters, 4);
        yield return new MetadataField("nb_snapshots", HeaderLayout.SnapshotCount, 4);
        yield return new MetadataField("snapshots_offset", HeaderLayout.SnapshotsOffset, 8);
        if (header.Version < 3)
        {
            yield break;
        }

        yield return new MetadataField("incompatible_features", HeaderLayout.IncompatibleFeatures, 8);
        yield return new MetadataField("compatible_features", HeaderLayout.CompatibleFeatures, 8);
        yield return new MetadataField("autoclear_features", HeaderLayout.AutoclearFeatures, 8);
        yield return new MetadataField("refcount_order", HeaderLayout.RefcountOrder, 4);
        yield return new MetadataField("header_length", HeaderLayout.HeaderLength, 4);
        yield return new MetadataField("compression_type", HeaderLayout.CompressionType, 1);
    }

    private static List<MetadataField> Directory(ReadOnlySpan<byte> directory, long offset)
    {
        var fields = new List<MetadataField>();
        while (BitmapDirectoryEntry.TryRead(directory, out BitmapDirectoryEntry entry))
        {
            fields.Add(new MetadataField("bitmap_table_offset", offset + Patched.TableOffset, 8));
            fields.Add(new MetadataField("bitmap_table_size", offset + Patched.TableSize, 4));
            fields.Add(new MetadataField("bitmap flags", offset + Patched.Flags, 4));
            fields.Add(new MetadataField("bitmap type", offset + Patched.Type, 1));
            fields.Add(new MetadataField("granularity_bits", offset + Patched.Granularity, 1));
            fields.Add(new MetadataField("name_size", offset + Patched.NameSize, 2));
            fields.Add(new MetadataField("bitmap extra_data_size", offset + Patched.ExtraDataSize, 4));
            fields.Add(new MetadataField("bitmap name", offset + BitmapDirectoryEntry.FixedBytes, 1));
            for (uint i = 0; i < Math.Min(entry.TableEntries, TableEntriesOfABitmap); i++)
            {
                fields.Add(new MetadataField("bitmap table entry", (long)entry.TableOffset + (i * 8), 8));
            }

            offset += entry.SizeBytes;
            directory = directory[entry.SizeBytes..];
        }

        return fields;
    }

    private static List<MetadataField> Snapshots(byte[] bytes, Qcow2Header header)
    {
        var fields = new List<MetadataField>();
        long offset = (long)header.SnapshotsOffset;
        for (uint i = 0; i < header.SnapshotCount && SnapshotEntry.TryRead(bytes.AsSpan((int)offset), out SnapshotEntry entry); i++)
        {
            fields.Add(new MetadataField("snapshot L1 offset", offset, 8));
            fields.Add(new MetadataField("snapshot L1 size", offset + 8, 4));
            fields.Add(new MetadataField("snapshot id size", offset + 12, 2));
            fields.Add(new MetadataField("snapshot name size", offset + 14, 2));
            fields.Add(new MetadataField("snapshot seconds", offset + 16, 4));
            fields.Add(new MetadataField("snapshot nanoseconds", offset + 20, 4));
            fields.Add(new MetadataField("snapshot clock", offset + 24, 8));
            fields.Add(new MetadataField("snapshot state size", offset + 32, 4));
            fields.Add(new MetadataField("snapshot extra_data_size", offset + 36, 4));
            for (int extra = 0; extra + 8 <= entry.ExtraData.Length; extra += 8)
            {
                fields.Add(new MetadataField("snapshot extra data", offset + 40 + extra, 8));
            }

            offset += entry.SizeBytes;
        }

        return fields;
    }
}
