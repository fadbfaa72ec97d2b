using System.Buffers.Binary;
using FsCheck;
using FsCheck.Fluent;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Fixtures;
using Qcow2Bitmaps.Tests.Images.Editing;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Operations;

/// <summary>Another name for the backing file: the old one or the new one, whenever it stops.</summary>
public sealed class BackingSwitchTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<string, string?, string> Cases
    {
        get
        {
            var cases = new TheoryData<string, string?, string>();
            foreach (StartImage image in StartImage.All.Where(static image => !image.IsLarge))
            {
                cases.Add(image.Name, "new name.qcow2", "qcow2");
                cases.Add(image.Name, "new name.qcow2", "host_device");
                cases.Add(image.Name, null, "qcow2");
                cases.Add(image.Name, new string('n', 120), "qcow2");
            }

            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task AStopAnywhereLeavesOneOfTheTwo(string imageName, string? name, string format)
    {
        byte[] start = StartImage.All.Single(image => image.Name == imageName).Build(Population.One);
        (string? Name, string? Format) before = await BackingOfAsync(start);
        var storage = new CrashStorage(start);
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token))
        {
            try
            {
                await image.SetBackingFileAsync(name, format, Token);
            }
            catch (Qcow2UnsupportedException e) when (e.Reason == UnsupportedReason.NoRoomInHeader)
            {
                // Some of these images are made so that nothing fits. Nothing was written then.
                Assert.Empty(storage.Operations);
                Assert.NotNull(name);
                return;
            }
        }

        (string? Name, string? Format) after = await BackingOfAsync(storage.ToArray());
        Assert.Equal(name, after.Name);
        ImageState first = await ImageState.ReadAsync(start);
        foreach (CrashState state in storage.States())
        {
            (string? Name, string? Format) now = await BackingOfAsync(state.Content);
            Assert.True(now == before || now == after, $"{state}: {now}");
            ImageState read = await ImageState.ReadAsync(state.Content);
            Assert.True(read.IsSound && read.Bitmaps.SequenceEqual(first.Bitmaps) && read.Guest.IsSameAs(first.Guest), $"{state}: {read}");
            // Whatever a stop has left, it can be done again.
            var again = new MemoryStorage(state.Content);
            await using Qcow2Image image = await Qcow2Image.OpenAsync(again, cancellationToken: Token);
            await image.SetBackingFileAsync(name, format, Token);
            Assert.Equal(after, (image.BackingFile, image.BackingFile is null ? null : image.BackingFormat));
        }
    }

    /// <summary>
    /// A longer format moves what follows it; of several formats in a header the last one counts, which may lie beyond the first sector.
    /// </summary>
    [Theory]
    [InlineData("1.1", 1, "host_device")]
    [InlineData("1.1", 0, "host_device")]
    [InlineData("0.10", 1, "snapshot-access")]
    [InlineData("1.1", 2, "raw")]
    [InlineData("1.1", 2, "qcow2")]
    [InlineData("1.1", 2, "host_device")]
    [InlineData("0.10", 2, "host_device")]
    public async Task ALongerFormatAndSeveralOfThem(string compat, int formats, string format)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string path = folder.File("image.qcow2");
        string[] backing = formats == 0 ? [] : ["-u", "-b", "old", "-F", "qcow2"];
        await Qemu.ImgOkAsync(["create", "-q", "-f", "qcow2", "-o", $"compat={compat}", .. backing, path, "1M"]);
        byte[] start = await File.ReadAllBytesAsync(path, Token);
        if (formats == 2)
        {
            AppendFormat(start, "raw");
        }

        (string? Name, string? Format) before = await BackingOfAsync(start);
        Assert.Equal(formats switch { 0 => null, 1 => "qcow2", _ => "raw" }, before.Format);
        var storage = new CrashStorage(start);
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token))
        {
            await image.SetBackingFileAsync("new", format, Token);
        }

        foreach (CrashState state in storage.States())
        {
            (string? Name, string? Format) now = await BackingOfAsync(state.Content);
            Assert.True(now == before || now == ("new", format), $"{state}: {now}");
            await File.WriteAllBytesAsync(path, state.Content, Token);
            string said = await Qemu.ImgOkAsync("info", "--output=json", path);
            Assert.Equal(now.Format is not null, said.Contains($"\"backing-filename-format\": \"{now.Format}\"", StringComparison.Ordinal));
        }

        await File.WriteAllBytesAsync(path, storage.ToArray(), Token);
        string info = await Qemu.ImgOkAsync("info", "--output=json", path);
        Assert.Contains($"\"backing-filename-format\": \"{format}\"", info, StringComparison.Ordinal);
        Assert.Contains("\"backing-filename\": \"new\"", info, StringComparison.Ordinal);
        Assert.Equal(0, (await Qemu.ImgAsync("check", QemuBitmaps.WithoutBacking(path))).ExitCode);
    }

    [Theory]
    [InlineData("copy-before-write")]
    [InlineData("")]
    public async Task AFormatThatQemuCannotRead(string format)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(new MemoryStorage(new TestImage().Build()), cancellationToken: Token);
        await Assert.ThrowsAsync<ArgumentException>(async () => await image.SetBackingFileAsync("new", format, Token));
    }

    /// <summary>Writes one more format behind all extensions; the name moves behind it.</summary>
    private static void AppendFormat(byte[] image, string format)
    {
        const int NameOffset = 8;
        int nameStart = (int)BinaryPrimitives.ReadInt64BigEndian(image.AsSpan(NameOffset));
        int end = nameStart - 8;
        Assert.Equal(0, BinaryPrimitives.ReadInt64BigEndian(image.AsSpan(end)));
        byte[] name = image.AsSpan(nameStart, 3).ToArray();
        BinaryPrimitives.WriteUInt32BigEndian(image.AsSpan(end), 0xE2792ACA);
        BinaryPrimitives.WriteInt32BigEndian(image.AsSpan(end + 4), format.Length);
        image.AsSpan(end + 8, 16).Clear();
        System.Text.Encoding.ASCII.GetBytes(format, image.AsSpan(end + 8));
        name.CopyTo(image, end + 24);
        BinaryPrimitives.WriteInt64BigEndian(image.AsSpan(NameOffset), end + 24);
    }

    [Fact]
    public void QemuSeesTheNameAndTheRestAsItWas()
    {
        Qemu.Require();
        Gen<(int Bits, string First, string Format, string Second)> cases =
            from bits in Gen.Elements(9, 10, 12, 16)
            from first in Gen.Frequency((1, Gen.Constant(0)), (2, Gen.Choose(1, 200)))
            from second in Gen.Choose(1, 200)
            from format in Gen.Elements("raw", "qcow2")
            select (bits, first == 0 ? "" : new string('f', first), format, new string('s', second));
        Properties.ForAll(cases, 60, static c => CompareAsync(c.Bits, c.First, c.Format, c.Second).GetAwaiter().GetResult());
    }

    [Theory]
    [InlineData("host_device", "raw")]
    [InlineData("host_cdrom", "qcow2")]
    [InlineData("raw", "qcow2")]
    public async Task AnotherFormatLeavesWhatFollowsIt(string before, string after)
    {
        Qemu.Require();
        using var folder = TempFolder.InMemory();
        string path = folder.File("image.qcow2");
        await Qemu.ImgOkAsync("create", "-q", "-f", "qcow2", "-u", "-b", "/dev/null", "-F", before, path, "1M");
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token))
        {
            await image.Bitmaps.EditAsync(edit => edit.Add("kept"), Token);
            await image.SetBackingFileAsync("other", after, Token);
            Assert.Equal(after, image.BackingFormat);
            Assert.Equal("kept", Assert.Single(image.Bitmaps).Name);
        }

        string info = await Qemu.ImgOkAsync("info", "--output=json", path);
        Assert.Contains($"\"backing-filename-format\": \"{after}\"", info, StringComparison.Ordinal);
        Assert.Contains("\"name\": \"kept\"", info, StringComparison.Ordinal);
    }

    /// <summary>Extensions without an end marker end where the name starts. Without the name its bytes would be extensions.</summary>
    [Fact]
    public async Task WithoutTheNameTheExtensionsStillEnd()
    {
        const int EndMarkerOffset = 160;
        byte[] start = await File.ReadAllBytesAsync(Path.Combine(FixtureFiles.Root, "chains", "gap-3", "top.qcow2"), Token);
        Assert.Equal(0, BinaryPrimitives.ReadInt64BigEndian(start.AsSpan(EndMarkerOffset)));
        start[EndMarkerOffset] = byte.MaxValue;
        var storage = new CrashStorage(start);
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token))
        {
            await image.SetBackingFileAsync(null, "raw", Token);
        }

        Assert.Null((await BackingOfAsync(storage.ToArray())).Name);
        foreach (CrashState state in storage.States())
        {
            Assert.Contains((await BackingOfAsync(state.Content)).Name, new[] { null, "mid.qcow2" });
        }
    }

    private static async Task CompareAsync(int clusterBits, string first, string format, string second)
    {
        using var folder = TempFolder.InMemory();
        string path = folder.File("image.qcow2");
        var options = new Qcow2CreateOptions { SizeBytes = 1 << 20, ClusterSizeBytes = 1 << clusterBits };
        await Qcow2Image.CreateAsync(
            path, first.Length == 0 ? options : options with { BackingFile = first, BackingFormat = "raw" }, Token);
        await using (Qcow2Image image = await Qcow2Image.OpenAsync(path, FileAccess.ReadWrite, cancellationToken: Token))
        {
            try
            {
                await image.SetBackingFileAsync(second, format, Token);
            }
            catch (Qcow2UnsupportedException e) when (e.Reason == UnsupportedReason.NoRoomInHeader)
            {
                Assert.True(clusterBits == 9 || (clusterBits == 10 && first.Length + second.Length > 100), e.Message);
                return;
            }
        }

        string info = await Qemu.ImgOkAsync("info", "--output=json", path);
        Assert.Contains($"\"backing-filename\": \"{second}\"", info, StringComparison.Ordinal);
        Assert.Contains($"\"backing-filename-format\": \"{format}\"", info, StringComparison.Ordinal);
        ProcessResult check = await Qemu.ImgAsync("check", QemuBitmaps.WithoutBacking(path));
        Assert.True(check.ExitCode == 0, check.Output + check.Error);
    }

    private static async Task<(string? Name, string? Format)> BackingOfAsync(byte[] content)
    {
        await using Qcow2Image image = await Qcow2Image.OpenAsync(MemoryStorage.ReadOnly(content), cancellationToken: Token);
        return (image.BackingFile, image.BackingFile is null ? null : image.BackingFormat);
    }
}
