using Qcow2Bitmaps.Images.Resizing;
using Qcow2Bitmaps.Storage;
using Qcow2Bitmaps.Tests.Support;

namespace Qcow2Bitmaps.Tests.Images;

/// <summary>Somebody's own storage throws what it likes: a change has taken effect and returns, or has not and throws.</summary>
public sealed class ForeignErrorTests
{
    private static readonly Dictionary<string, Func<Exception>> s_errors = new(StringComparer.Ordinal)
    {
        ["timeout"] = static () => new TimeoutException(),
        ["disposed"] = static () => new ObjectDisposedException("connection"),
        ["cancelled"] = static () => new TaskCanceledException(),
    };

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<string> Errors => [.. s_errors.Keys];

    [Theory]
    [MemberData(nameof(Errors))]
    public async Task AnEditThrowsOnlyWhereNothingHasChanged(string error)
    {
        byte[] start = new TestImage().WithGuestData(3).WithBitmap("a", bits: [1, 2, 3]).WithBitmap("b", bits: [1]).Build();
        int told = 0;
        bool hasFailed = true;
        for (int n = 0; hasFailed; n++)
        {
            var memory = new MemoryStorage(start.ToArray());
            var storage = new FailingStorage(memory)
            {
                FailingWrite = n,
                WriteError = s_errors[error],
                FailsDiscards = n == 0,
                DiscardError = s_errors[error],
            };
            await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);

            Exception? thrown;
            using (Leftovers.TellTo(_ => told++))
            {
                thrown = await Record.ExceptionAsync(async () => await image.Bitmaps.EditAsync(static edit => edit.Remove("a"), Token));
            }

            hasFailed = storage.HasFailed;
            Assert.Equal(thrown is null ? ["b"] : ["a", "b"], await NamesAsync(memory.ToArray()));
            Assert.Equal(image.Bitmaps.Select(static bitmap => bitmap.Name), await NamesAsync(memory.ToArray()));
            Assert.True(thrown is null || n > 0, $"{thrown}");
        }

        Assert.True(told > 0);
    }

    /// <summary>A data file never becomes shorter than the disk that the header has.</summary>
    [Theory]
    [MemberData(nameof(Errors))]
    public async Task AResizeKeepsTheDataFileAsLongAsTheDisk(string error)
    {
        using var folder = new TempFolder();
        string path = folder.File("a.qcow2");
        await Support.Cli.OkAsync("create", "-q", "-f", "qcow2", "-o", $"data_file={folder.File("d")},data_file_raw=on", path, "200k");
        byte[] start = await File.ReadAllBytesAsync(path, Token);
        bool hasFailed = true;
        int tries = 0;
        for (int n = 0; hasFailed; n++, tries++)
        {
            var storage = new FailingStorage(new MemoryStorage(start.ToArray()))
            {
                FailingWrite = n,
                WriteError = s_errors[error],
                FailsDiscards = n == 0,
                DiscardError = s_errors[error],
            };
            var dataFile = new MemoryStorage(new byte[200 << 10], "data");
            await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);

            Exception? thrown = await Record.ExceptionAsync(
                async () => await image.ResizeAsync(300 << 10, new Qcow2ResizeOptions { DataFile = dataFile }, Token));

            hasFailed = storage.HasFailed;
            Assert.True(thrown is null || n > 0, $"{thrown}");
            Assert.Equal(thrown is null ? 300 << 10 : 200 << 10, image.VirtualSizeBytes);
            Assert.Equal(image.VirtualSizeBytes, dataFile.Length);
        }

        Assert.True(tries > 2);
    }

    /// <summary>After it has failed, the image takes another writer.</summary>
    [Theory]
    [MemberData(nameof(Errors))]
    public async Task AWriterThatCannotBeClosedIsClosed(string error)
    {
        var storage = new FailingStorage(new MemoryStorage(new TestImage().WithGuestData(3).Build())) { WriteError = s_errors[error] };
        await using Qcow2Image image = await Qcow2Image.OpenAsync(storage, leaveOpen: true, cancellationToken: Token);
        Disk writer = await image.OpenWriterAsync(Token);
        await writer.WriteAsync(100_000, new byte[] { 1 }, Token);
        storage.FailingWrite = storage.Writes + 1;

        Assert.IsType(s_errors[error]().GetType(), await Record.ExceptionAsync(async () => await writer.DisposeAsync()));

        await using Disk another = await image.OpenWriterAsync(Token);
        await another.WriteAsync(100_000, new byte[] { 1 }, Token);
    }

    private static async Task<IReadOnlyList<string>> NamesAsync(byte[] bytes)
    {
        await using Qcow2Image image = await TestImage.OpenAsync(bytes);
        return [.. image.Bitmaps.Select(static bitmap => bitmap.Name)];
    }
}
