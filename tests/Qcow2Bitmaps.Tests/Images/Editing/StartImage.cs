using System.Text;
using Qcow2Bitmaps.Format;
using Qcow2Bitmaps.Tests.Hostile;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images.Editing;

/// <summary>An image to edit, by what is special about its layout.</summary>
/// <param name="Name">What that is.</param>
/// <param name="ClusterBits">The cluster size as a power of two.</param>
/// <param name="RefcountOrder">The refcount width as a power of two.</param>
internal sealed record StartImage(string Name, int ClusterBits, int RefcountOrder = 4)
{
    private const HeaderExtensionType Unknown = (HeaderExtensionType)0x1BADCAFE;

    public static readonly IReadOnlyList<StartImage> All =
    [
        new("512", 9),
        new("512, backing name", 9) { BackingFile = LongName(200) },
        new("512, refcounts of 1 bit", 9, 0) { FreeClusters = 3 },
        new("512, refcounts of 64 bits, block full", 9, 6) { FreeRefcounts = 0 },
        new("512, refcounts of 64 bits, block full but for 2", 9, 6) { FreeRefcounts = 2 },
        new("512, refcount table full", 9, 6) { FreeRefcounts = 1, FillsRefcountTable = true },
        new("512, refcount table full, backing name", 9, 6) { FreeRefcounts = 0, FillsRefcountTable = true, BackingFile = LongName(200) },
        new("4k", 12) { FreeClusters = 5 },
        new("4k, refcounts of 64 bits, block full", 12, 6) { FreeRefcounts = 0 },
        new("4k, extension at the second sector", 12) { Before = [FeatureNames] },
        new("4k, extension over two sectors", 12) { Before = [Other(368)] },
        new("4k, extension over two later sectors, more behind", 12) { Before = [Other(880)], Behind = [Other(3), FeatureNames] },
        new("4k, backing name that must move", 12) { Before = [BackingFormat], Behind = [Other(1)], BackingFile = LongName(1000) },
        new("4k, backing name close behind", 12) { Before = [BackingFormat, FeatureNames], BackingFile = "base.raw" },
        new("4k, header of 104 bytes", 12) { HeaderLength = 104 },
        new("4k, header with unknown bytes", 12) { HeaderLength = 120, Behind = [Other(17)] },
        new("4k, extension left over", 12) { Before = [new RawHeaderExtension((HeaderExtensionType)0x5142464C, new byte[24])] },
        new("4k, unknown autoclear bits", 12) { Autoclear = (AutoclearFeatures)0x8000_0010 },
        new("64k as QEMU's", 16) { Before = [BackingFormat, FeatureNames], BackingFile = "base.raw" },
        new("64k, refcounts of 1 bit", 16, 0) { FreeClusters = 1 },
    ];

    private List<RawHeaderExtension> Before { get; init; } = [];

    private List<RawHeaderExtension> Behind { get; init; } = [];

    private string? BackingFile { get; init; }

    private uint HeaderLength { get; init; } = Qcow2Header.MaxKnownBytes;

    private AutoclearFeatures Autoclear { get; init; }

    private int FreeClusters { get; init; }

    private int? FreeRefcounts { get; init; }

    private bool FillsRefcountTable { get; init; }

    private static RawHeaderExtension FeatureNames => new(HeaderExtensionType.FeatureNames, new byte[384]);

    private static RawHeaderExtension BackingFormat => new(HeaderExtensionType.BackingFormat, "raw"u8.ToArray());

    /// <summary>Whether reading and checking the image takes long: it has megabytes, or hundreds of thousands of counts.</summary>
    public bool IsLarge => ClusterBits == 16 || FillsRefcountTable || (ClusterBits == 12 && FreeRefcounts is not null);

    /// <summary>The disk's size: fine bitmaps take two pages, and the last granule is cut.</summary>
    private long VirtualSizeBytes => (ClusterBits switch { 9 => 4L << 20, 12 => 24L << 20, _ => 300L << 20 }) + 512;

    public byte[] Build(Population population)
    {
        var image = new TestImage(ClusterBits, VirtualSizeBytes, RefcountOrder) { BackingFile = BackingFile }.WithHeader(
            header => header with
            {
                HeaderLength = HeaderLength,
                TrailingBytes = HeaderLength > Qcow2Header.MaxKnownBytes
                ? Random(1, (int)HeaderLength - Qcow2Header.MaxKnownBytes + 7, 7)
                : default,
                AutoclearFeatures = Autoclear,
            });
        image.Extensions.AddRange(Before);
        image.ExtensionsBehind.AddRange(Behind);
        image.WithGuestData(3).WithFreeClusters(FreeClusters / 2);
        AddBitmaps(image, population);
        image.WithFreeClusters(FreeClusters - (FreeClusters / 2));
        byte[] bytes = image.Build(FreeRefcounts, FillsRefcountTable);
        if (population == Population.Ignored)
        {
            bytes[HeaderLayout.AutoclearFeatures + 7] = 0;
        }

        return bytes;
    }

    public override string ToString() => Name;

    private void AddBitmaps(TestImage image, Population population)
    {
        int page = 1 << ClusterBits;
        if (population != Population.None)
        {
            image.WithBitmap("a", 12, bits: Random(2, 100));
        }

        if (population == Population.Several)
        {
            image.WithBitmap("same", 12, bits: Random(3, 100))
                .WithBitmap("fine", 9, bits: [.. Random(4, 150), .. new byte[page - 150], .. Random(5, 2)])
                .WithBitmap("coarse", 16, bits: Random(6, 7))
                .WithBitmap("off", 12, BitmapFlags.None, null, [.. Enumerable.Range(0, (int)image.Geometry.BitmapTableEntries(12))])
                .WithBitmap("broken", 12, BitmapFlags.InUse | BitmapFlags.Auto, Random(7, 5));
        }
    }

    private static RawHeaderExtension Other(int length) => new(Unknown, Random((ulong)length, length));

    private static string LongName(int length) => new StringBuilder().Insert(0, "name/", length / 5).ToString()[..(length - 4)] + ".raw";

    /// <summary>Bytes about an eighth of whose bits are set, and zeros in front where they are told.</summary>
    private static byte[] Random(ulong seed, int length, int zeros = 0)
    {
        var random = new SplitMix(seed);
        var bytes = new byte[length];
        for (int i = zeros; i < length; i++)
        {
            bytes[i] = (byte)(random.Next() & random.Next() & random.Next() & 0xFF);
        }

        return bytes;
    }
}
